"""What handlers share: the same in a table and in a cache, and never another's change lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from pytest_django import Settings

from tests.infrastructure.waiting import eventually
from websockets_app.exceptions import InvalidShared, SharedBusy, SharedFull
from websockets_app.models import Endpoint, SharedMember, SharedValue
from websockets_app.models.node import Now
from websockets_app.models.shared import PRUNED_AT_ONCE, SharedMemberQuerySet, SharedValueQuerySet
from websockets_app.shared import stores, values
from websockets_app.websockets import WebsocketClient, WebsocketSession, shared

THREADS = 8
LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "shared"}


def keep_in_cache(settings: Settings, **cache: Any) -> None:
    settings.CACHES = {**settings.CACHES, "shared": {**LOCMEM, **cache}}
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SHARED_CACHE": "shared"}


@pytest.fixture
def cache(settings: Settings) -> Iterator[None]:
    keep_in_cache(settings)
    yield
    caches["shared"].clear()


@pytest.fixture(params=["table", "cache"])
def store(request: pytest.FixtureRequest, db: None) -> str:
    """Let the test run on the table, and again on a cache."""
    if request.param == "cache":
        request.getfixturevalue("cache")
    return str(request.param)


SHAREABLE = [
    None, True, 0, -1, 2**70, 1.5, "", "grüße ☃ 🙂", [], {}, [1, [2, {"a": None}]],
    {"ü": [1, "x"], "": 0, "a b": {}}, WebsocketSession("0123"), WebsocketClient(7),
    {"tom": WebsocketSession("0123"), "all": [WebsocketSession("a"), WebsocketClient("8")]},
    {"$session": "0123"}, {"$client": "1"}, {"$$session": "x"}, {"$": 1, "$session": 2},
    {"a$$": 1}, {"$session": WebsocketSession("0123")},
]  # fmt: skip


# Values


@pytest.mark.parametrize("value", SHAREABLE, ids=repr)
def test_what_is_set_comes_back(store: str, value: Any) -> None:
    shared.set("key", value)
    back = shared.get("key")
    assert back == value
    assert type(back) is type(value)


def test_a_tuple_comes_back_as_a_list(store: str) -> None:
    shared.set("key", (1, ("a",)))
    assert shared.get("key") == [1, ["a"]]


def test_a_key_without_a_value_has_the_default_and_none_is_a_value(store: str) -> None:
    assert shared.get("key") is None
    assert shared.get("key", "default") == "default"
    shared.set("key", None)
    assert shared.get("key", "default") is None


def test_the_last_value_is_the_one_that_stays(store: str) -> None:
    shared.set("key", 1)
    shared.set("other", "other")
    shared.set("key", [2])
    assert shared.get("key") == [2]
    assert shared.get("other") == "other"


def test_delete_forgets_value_and_members_and_says_whether_there_was_anything(store: str) -> None:
    shared.set("key", 1)
    shared.add("key", "tom")
    shared.set("other", 2)
    assert shared.delete("key")
    assert not shared.delete("key")
    assert shared.get("key") is None
    assert shared.members("key") == []
    assert shared.get("other") == 2
    shared.add("key", "tom")
    assert shared.delete("key")


def test_the_largest_value_and_the_longest_key_are_kept(store: str, settings: Settings) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SHARED_VALUE_SIZE": 1000}
    key = "☃ " * (values.KEY_LENGTH // 2)
    shared.set(key, "ü" * 499)  # and the quotes
    assert shared.get(key) == "ü" * 499
    with pytest.raises(InvalidShared, match=r"1001 bytes; WEBSOCKETS\['SHARED_VALUE_SIZE'\]"):
        shared.set(key, "x" * 999)
    assert shared.get(key) == "ü" * 499


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value",
    [
        object(), b"bytes", {1: "a"}, {"a": {2}}, [float("nan")], float("inf"), "a\0b", ["\ud800"],
        {"\0": 1}, {"$\0": 1}, LOOP, 10**5000, print,
    ],
    ids=lambda value: repr(value)[:20] if value != 10**5000 else "digits",
)  # fmt: skip
def test_what_json_does_not_hold_is_refused(value: Any) -> None:
    with pytest.raises(InvalidShared):
        shared.set("key", value)
    with pytest.raises(InvalidShared):
        shared.add("key", value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "not empty"),
        (None, "is a string"),
        (7, "is a string"),
        ("x" * 201, "up to 200 characters"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_key_that_cannot_be_is_refused_by_every_function(key: Any, said: str) -> None:
    for function in (shared.get, shared.delete, shared.members):
        with pytest.raises(InvalidShared, match=said):
            function(key)
    for change in (shared.set, shared.add, shared.remove):
        with pytest.raises(InvalidShared, match=said):
            change(key, 1)


# Members


def test_members_keep_the_order_in_which_they_came_and_come_once(store: str) -> None:
    session = WebsocketSession("0123")
    assert shared.members("key") == []
    assert [shared.add("key", member) for member in ("tom", session, 3, {"b": 1, "a": [2]})] == [
        True, True, True, True,
    ]  # fmt: skip
    assert not shared.add("key", "tom")
    assert not shared.add("key", {"a": [2], "b": 1})
    assert shared.members("key") == ["tom", session, 3, {"b": 1, "a": [2]}]
    assert shared.members("other") == []
    assert shared.remove("key", session)
    assert not shared.remove("key", session)
    assert not shared.remove("other", "tom")
    assert shared.members("key") == ["tom", 3, {"b": 1, "a": [2]}]


def test_members_are_apart_from_the_value(store: str) -> None:
    shared.add("key", "tom")
    assert shared.get("key") is None
    shared.set("key", ["jerry"])
    assert shared.members("key") == ["tom"]


def test_a_member_and_their_number_are_bounded(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.add("key", "x" * 498)
    with pytest.raises(InvalidShared, match="up to 500 characters as JSON; this has 501"):
        shared.add("key", "x" * 499)
    monkeypatch.setattr(values, "MAX_MEMBERS", 2)
    assert shared.add("key", "second")
    with pytest.raises(InvalidShared, match="up to 2 members"):
        shared.add("key", "third")
    assert not shared.add("key", "second")
    assert shared.add("other", "third")


def test_the_longest_member_under_the_longest_key_is_kept_in_any_script(store: str) -> None:
    letters = [chr(0x20000 + number * 37) for number in range(500)]  # of four bytes each
    key, member = "".join(letters[: values.KEY_LENGTH]), "".join(letters[:374])
    assert shared.add(key, member)
    assert shared.members(key) == [member]
    with pytest.raises(InvalidShared, match="up to 1500 bytes as JSON; this has 1994"):
        shared.add(key, "".join(letters[:498]))


def test_a_member_that_others_add_and_remove_meanwhile_is_no_error(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come_second(*args: Any, **fields: Any) -> None:
        raise IntegrityError("a duplicate, removed by the time it is looked for")

    monkeypatch.setattr(SharedMemberQuerySet, "create", come_second)
    assert not shared.add("key", "tom")


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in as many threads, which begin together, and return what they return."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_of_threads_that_add_the_same_member_one_did(transactional_db: None, store: str) -> None:
    assert sorted(at_once(lambda number: shared.add("key", "tom"))) == [False] * 7 + [True]
    assert shared.members("key") == ["tom"]
    assert sorted(at_once(lambda number: shared.remove("key", "tom"))) == [False] * 7 + [True]
    assert shared.members("key") == []


def test_threads_that_add_and_remove_never_lose_each_others_change(
    transactional_db: None, store: str
) -> None:
    for number in range(THREADS):
        shared.add("key", ["leaves", number])

    def come_and_go(number: int) -> None:
        shared.add("key", ["comes", number])
        shared.remove("key", ["leaves", number])
        shared.add("key", ["stays", number])
        shared.remove("key", ["comes", number])

    at_once(come_and_go)
    assert sorted(shared.members("key")) == [["stays", number] for number in range(THREADS)]


def test_threads_never_lose_each_others_change_in_a_cache_of_all_processes(
    settings: Settings, valkey_url: str
) -> None:
    backend = "django.core.cache.backends.redis.RedisCache"
    keep_in_cache(settings, BACKEND=backend, LOCATION=valkey_url)

    def come(number: int) -> None:
        for turn in range(5):
            shared.add("key", [number, turn])
            shared.add("key", turn)

    at_once(come)
    assert len(shared.members("key")) == 5 * THREADS + 5
    assert shared.delete("key")


def test_threads_that_set_the_same_key_leave_one_of_their_values(
    transactional_db: None, store: str
) -> None:
    at_once(lambda number: shared.set("key", number))
    assert shared.get("key") in range(THREADS)


# Expiry


def expire(*models: type[SharedValue | SharedMember]) -> None:
    """Let the rows that have a timeout expire now."""
    for model in models or (SharedValue, SharedMember):
        model._default_manager.exclude(expires_at=None).update(
            expires_at=Now() - timedelta(seconds=1)
        )


def test_a_value_expires_after_its_timeout(store: str) -> None:
    shared.set("lasting", 1)
    shared.set("key", 2, timeout=0.5)
    shared.set("later", 3, timeout=timedelta(days=1))
    assert shared.get("key") == 2
    assert eventually(lambda: shared.get("key", "gone") == "gone")
    assert not shared.delete("key")
    assert [shared.get(key) for key in ("lasting", "later")] == [1, 3]


def test_each_member_expires_after_its_own_timeout(store: str) -> None:
    shared.add("key", "tom")
    shared.add("key", "jerry", timeout=0.5)
    shared.add("key", "spike", timeout=timedelta(days=1))
    assert shared.members("key") == ["tom", "jerry", "spike"]
    assert eventually(lambda: shared.members("key") == ["tom", "spike"])
    assert not shared.remove("key", "jerry")
    assert shared.add("key", "jerry")
    assert shared.members("key") == ["tom", "spike", "jerry"]


def test_a_key_whose_members_have_all_expired_has_none(store: str) -> None:
    shared.add("key", "tom", timeout=0.5)
    assert eventually(lambda: not shared.members("key"))
    assert not shared.delete("key")


def test_the_last_call_decides_when_something_expires(store: str) -> None:
    shared.set("key", 1, timeout=0.5)
    shared.set("key", 2)
    assert shared.add("key", "tom", timeout=0.5)
    assert not shared.add("key", "tom")
    shared.add("key", "jerry", timeout=0.5)
    assert not shared.add("key", "jerry", timeout=1000)
    shared.set("other", 1)
    shared.set("other", 1, timeout=0.5)
    shared.add("other", "spike")
    shared.add("other", "spike", timeout=0.5)
    assert eventually(lambda: (shared.get("other"), shared.members("other")) == (None, []))
    assert shared.get("key") == 2
    assert shared.members("key") == ["tom", "jerry"]


@pytest.mark.parametrize(
    "timeout", [0, -1, True, "60", float("nan"), float("inf"), 10**12, timedelta(0), timedelta.max]
)
def test_a_timeout_that_cannot_be_kept_is_refused(timeout: Any) -> None:
    with pytest.raises(InvalidShared, match="timeout"):
        shared.set("key", 1, timeout=timeout)
    with pytest.raises(InvalidShared, match="timeout"):
        shared.add("key", 1, timeout=timeout)


def test_of_threads_that_add_a_member_that_has_expired_one_did(transactional_db: None) -> None:
    shared.add("key", "tom", timeout=1)
    expire()
    assert sorted(at_once(lambda _: shared.add("key", "tom", timeout=60))) == [False] * 7 + [True]
    assert shared.members("key") == ["tom"]


def test_threads_that_renew_and_let_expire_lose_no_member(transactional_db: None) -> None:
    def renew(number: int) -> None:
        for turn in range(5):
            shared.add("short", turn, timeout=0.001)
            shared.add("key", number, timeout=0.001)
            shared.add("key", number, timeout=60)
            shared.set("value", number, timeout=0.001)
            shared.set("value", number, timeout=60)

    at_once(renew)
    assert sorted(shared.members("key")) == list(range(THREADS))
    assert shared.get("value") in range(THREADS)


def expired_rows(number: int) -> None:
    """Store rows of values and members that have expired, beside two that haven't."""
    about: dict[str, Any] = {"expires_at": Now() - timedelta(seconds=1)}
    SharedValue.objects.bulk_create(SharedValue(key=str(n), **about) for n in range(number))
    SharedMember.objects.bulk_create(
        SharedMember(key="old", member=str(n), **about) for n in range(number)
    )
    shared.set("lasting", 1)
    shared.add("lasting", 1)


def test_a_write_with_a_timeout_deletes_some_expired_rows_and_nothing_else(
    transactional_db: None,
) -> None:
    expired_rows(PRUNED_AT_ONCE + 5)
    assert SharedValue.objects.count() == SharedMember.objects.count() == PRUNED_AT_ONCE + 6
    shared.set("new", 1, timeout=60)
    shared.add("new", 1, timeout=60)
    assert SharedValue.objects.count() == SharedMember.objects.count() == 7
    shared.set("new", 2, timeout=60)
    shared.add("new", 1, timeout=60)
    assert set(SharedValue.objects.values_list("key", flat=True)) == {"lasting", "new"}
    assert set(SharedMember.objects.values_list("key", flat=True)) == {"lasting", "new"}


def test_expired_rows_are_deleted_after_the_commit_only(transactional_db: None) -> None:
    expired_rows(1)

    def undo() -> None:
        with transaction.atomic():
            shared.set("new", 1, timeout=60)
            raise LookupError

    with pytest.raises(LookupError):
        undo()
    assert SharedValue.objects.count() == 2
    with transaction.atomic():
        shared.set("new", 1, timeout=60)
        assert SharedValue.objects.count() == 3
    assert SharedValue.objects.count() == 2


def test_a_write_succeeds_if_expired_rows_cannot_be_deleted(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expired_rows(1)
    monkeypatch.setattr(SharedMemberQuerySet, "delete", failing(DatabaseError("it is away")))
    shared.add("lasting", 1, timeout=60)
    assert shared.members("lasting") == [1]
    assert "it is away" in caplog.text


def test_expired_rows_that_others_have_locked_keep_no_write_waiting(
    transactional_db: None,
) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip(f"{connection.vendor} locks no rows, or can't skip them")
    expired_rows(2)

    def write(number: int) -> None:
        shared.set("new", number, timeout=60)

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        list(SharedValue.objects.select_for_update().filter(key="0"))
        pool.submit(write, 1).result(timeout=10)
        pool.submit(connections.close_all).result()
    left = SharedValue.objects.exclude(key="lasting")
    assert set(left.values_list("key", flat=True)) == {"0", "new"}


def deadlock(write: Callable[..., Any]) -> Callable[..., Any]:
    """Return `write`, ended by a deadlock the first time and never again."""
    failures = [psycopg.errors.DeadlockDetected("deadlock detected")]

    def fail_once(*args: Any, **options: Any) -> Any:
        if failures:
            raise OperationalError("deadlock detected") from failures.pop()
        return write(*args, **options)

    return fail_once


def test_a_write_that_a_deadlock_ended_is_done_again_outside_of_transactions_only(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("update", "upsert", "delete", "create"):
        for kind in (SharedValueQuerySet, SharedMemberQuerySet):
            monkeypatch.setattr(kind, name, deadlock(getattr(kind, name)))
    shared.set("key", 1)
    assert shared.add("key", "tom")
    assert shared.remove("key", "tom")
    assert shared.delete("key")
    monkeypatch.setattr(SharedValueQuerySet, "upsert", deadlock(SharedValueQuerySet.upsert))
    with pytest.raises(OperationalError), transaction.atomic():
        shared.set("key", 1)
    shared.set("key", 1)
    monkeypatch.setattr(SharedValueQuerySet, "update", failing(OperationalError("is locked")))
    with pytest.raises(OperationalError, match="is locked"):
        shared.set("key", 1)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


# How much is kept


def test_what_code_outside_of_endpoints_adds_is_bounded(db: None, settings: Settings) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SHARED_ENTRIES": 3}
    shared.set("a", 1)
    shared.add("a", 1, timeout=60)
    shared.add("a", 2, timeout=60)
    with pytest.raises(SharedFull, match=r"3 shared values and members.*SHARED_ENTRIES'\] all"):
        shared.set("b", 1)
    with pytest.raises(SharedFull, match="Code outside of endpoints"):
        shared.add("a", 3)
    shared.set("a", 2)
    assert not shared.add("a", 2, timeout=60)
    expire(SharedMember)
    shared.set("b", 1)
    shared.add("a", 3)
    with pytest.raises(SharedFull):
        shared.add("a", 4)
    shared.remove("a", 3)
    shared.add("a", 4)


def test_entries_of_an_endpoint_leave_others_their_room(db: None, settings: Settings) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SHARED_ENTRIES": 1}
    endpoint = Endpoint.objects.create(endpoint="e", handler="handlers.echo")
    SharedValue.objects.put("theirs", 1, None, endpoint.pk)
    shared.set("theirs", 2)
    assert SharedValue.objects.get().endpoint == endpoint
    shared.set("ours", 1)
    endpoint.delete()
    assert shared.get("theirs") == 2


# Where it is kept


def test_the_table_holds_json_and_no_pickle(db: None) -> None:
    shared.set("key", {"by": WebsocketSession("0123"), "$session": "forged"})
    shared.add("key", "ü")
    assert SharedValue.objects.get().value == {
        "by": {"$session": "0123"}, "$$session": "forged",
    }  # fmt: skip
    assert SharedMember.objects.get().member == '"ü"'


def test_what_is_shared_belongs_to_the_callers_transaction(db: None) -> None:
    def undo() -> None:
        with transaction.atomic():
            shared.set("key", 1)
            shared.add("key", "tom")
            assert not shared.add("key", "tom")
            raise LookupError

    with pytest.raises(LookupError):
        undo()
    assert shared.get("key") is None
    assert shared.members("key") == []


def test_a_cache_keeps_text_that_never_expires(settings: Settings) -> None:
    keep_in_cache(settings, TIMEOUT=0, LOCATION="eager")  # what has no timeout of its own is gone
    shared.set("key", [1, "x"])
    shared.add("key", "tom")
    assert shared.get("key") == [1, "x"]
    assert shared.members("key") == ["tom"]
    kept = caches["shared"].get(stores._entry("value", "key"))
    assert json.loads(kept) == [1, "x"]
    caches["shared"].clear()


def test_a_lock_that_stays_taken_is_an_error_and_one_left_behind_expires(
    cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = stores._entry("lock", "key")
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.05)
    caches["shared"].set(lock, "somebody's", timeout=None)
    with pytest.raises(SharedBusy, match="'key'"):
        shared.add("key", "tom")
    caches["shared"].set(lock, "a dead one's", timeout=0.1)
    assert eventually(lambda: shared.add("key", "tom"))
    assert caches["shared"].get(lock) is None


def test_a_lock_that_another_holds_by_now_is_left_to_it(cache: None) -> None:
    store = stores.CacheStore(caches["shared"])
    with store._locked("key"):
        caches["shared"].set(stores._entry("lock", "key"), "another's", timeout=None)
    assert caches["shared"].get(stores._entry("lock", "key")) == "another's"


# From async code


async def test_every_asynchronous_form_does_as_the_plain_one(transactional_db: None) -> None:
    await shared.aset("key", [1])
    assert await shared.aget("key") == [1]
    await shared.aset("brief", 1, timeout=timedelta(seconds=60))
    await shared.aadd("brief", 1, timeout=60)
    assert await SharedValue.objects.filter(expires_at__gt=Now()).acount() == 1
    assert await SharedMember.objects.filter(expires_at__gt=Now()).acount() == 1
    assert await shared.aget("other", 2) == 2
    assert await shared.aadd("key", "tom")
    assert not await shared.aadd("key", "tom")
    assert await shared.amembers("key") == ["tom"]
    assert await shared.aremove("key", "tom")
    assert await shared.adelete("key")
    assert await shared.aget("key") is None
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize(
    ("call", "other"),
    [
        (lambda: shared.get("key"), "aget"),
        (lambda: shared.set("key", 1), "aset"),
        (lambda: shared.delete("key"), "adelete"),
        (lambda: shared.add("key", 1), "aadd"),
        (lambda: shared.remove("key", 1), "aremove"),
        (lambda: shared.members("key"), "amembers"),
    ],
)
async def test_a_plain_form_in_an_event_loop_names_the_other(
    call: Callable[[], Any], other: str
) -> None:
    with pytest.raises(SynchronousOnlyOperation, match=rf"await shared\.{other}\(\)"):
        call()
