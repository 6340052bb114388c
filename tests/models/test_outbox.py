"""The outbox' verbs: each moves what stands where it must, under the epoch that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from websockets_app.core.states import ClientState, OutboxStatus
from websockets_app.exceptions import ClientGone
from websockets_app.models import Client, ClientRuntime, OutboxMessage, outbox
from websockets_app.models.outbox import MOST_ATTEMPTS, Claimed
from websockets_app.outbound.handle import WebsocketClient
from websockets_app.signals import outbox_filled

pytestmark = pytest.mark.django_db

EPOCH = 7


@pytest.fixture
def client() -> Client:
    return Client.objects.create(name="c", uri="ws://example.com", handler="handlers.printer")


def put(client: Client, *texts: str, **fields: Any) -> list[int]:
    """Queue messages; return their ids."""
    for text in texts:
        OutboxMessage.objects.put(client.pk, text=text, **fields)
    newest = OutboxMessage.objects.order_by("-id").values_list("pk", flat=True)
    return sorted(newest[: len(texts)])


def claim(client: Client, most: int = 100, epoch: int = EPOCH) -> list[Claimed]:
    return OutboxMessage.objects.claim(client.pk, epoch, most, timezone.now())


def texts(messages: list[Claimed]) -> list[str | None]:
    return [message.text for message in messages]


def statuses() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("status", flat=True))


def make(client: Client, status: OutboxStatus, **fields: Any) -> OutboxMessage:
    """A message that has come so far, under EPOCH where it had to be claimed."""
    untouched = {OutboxStatus.QUEUED, OutboxStatus.EXPIRED}
    epoch = None if status in untouched else EPOCH
    return OutboxMessage.objects.create(
        client=client, **{"text": "x", "status": status, "epoch": epoch, "attempts": 1, **fields}
    )


# Sending


@pytest.mark.django_db(transaction=True)
def test_a_send_is_one_query(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    handle = WebsocketClient.of(client)
    with django_assert_num_queries(1):
        message_id = handle.send("hello")
    row = OutboxMessage.objects.get()
    assert (row.message_id, row.text, row.status) == (message_id, "hello", "queued")


@pytest.mark.django_db(transaction=True)
def test_a_handle_that_only_knows_its_id_asks_for_the_expiry_once(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    handle = WebsocketClient(client.pk)
    with django_assert_num_queries(3):
        handle.send("one")
        handle.send("two")


def test_a_send_in_a_transaction_opens_no_other(client: Client) -> None:
    handle = WebsocketClient.of(client)
    with CaptureQueriesContext(connection) as queries:
        handle.send("hello")
    verbs = [query["sql"].split()[0] for query in queries]
    assert verbs.count("INSERT") == 1
    assert not {"BEGIN", "SAVEPOINT"} & set(verbs)


@pytest.mark.django_db(transaction=True)
def test_what_is_sent_in_a_transaction_is_gone_when_that_rolls_back(client: Client) -> None:
    told: list[object] = []

    def listen(**kwargs: object) -> None:
        told.append(kwargs["sender"])

    outbox_filled.connect(listen)
    with transaction.atomic():
        WebsocketClient.of(client).send("never")
        transaction.set_rollback(True)
    assert (statuses(), told) == ([], [])
    with transaction.atomic():
        WebsocketClient.of(client).send("soon")
        assert told == []
    outbox_filled.disconnect(listen)
    assert (statuses(), told) == (["queued"], [OutboxMessage])


def test_a_listener_that_fails_does_no_harm_to_who_sends(
    client: Client,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def fail(**kwargs: object) -> None:
        raise ZeroDivisionError

    outbox_filled.connect(fail)
    with django_capture_on_commit_callbacks(execute=True):
        WebsocketClient.of(client).send("hello")
    outbox_filled.disconnect(fail)
    assert statuses() == ["queued"]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_to_a_client_that_is_gone(client: Client) -> None:
    handle = WebsocketClient.of(client)
    client.delete()
    with pytest.raises(ClientGone, match=f"no client {handle.id} any more"):
        handle.send("hello")


# Claiming


def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(client: Client) -> None:
    other = Client.objects.create(name="other", uri="ws://example.com", handler="h")
    put(other, "not mine")
    put(client, "a", "b", "c")
    assert texts(claim(client, 2)) == ["a", "b"]
    assert texts(claim(client, 2)) == ["c"]
    assert claim(client) == []
    row = OutboxMessage.objects.get(text="a")
    assert (row.status, row.epoch, row.attempts) == ("claimed", EPOCH, 1)
    assert OutboxMessage.objects.get(text="not mine").status == "queued"


def test_what_was_committed_late_is_claimed_late_and_not_lost(client: Client) -> None:
    late, early = put(client, "late", "early")
    OutboxMessage.objects.filter(pk=late).update(status="dead")  # as if not committed yet
    assert texts(claim(client)) == ["early"]
    OutboxMessage.objects.filter(pk=late).update(status="queued")
    assert texts(claim(client)) == ["late"]
    assert late < early


def test_nothing_is_claimed_beyond_a_close(client: Client) -> None:
    put(client, "before")
    OutboxMessage.objects.put(client.pk, close_code=1000, close_reason="done")
    put(client, "after")
    before, close = claim(client)
    assert (before.text, close.close_code, close.close_reason) == ("before", 1000, "done")
    assert statuses() == ["claimed", "claimed", "queued"]


def test_what_has_expired_is_not_claimed_and_does_not_take_the_place_of_what_has_not(
    client: Client,
) -> None:
    now = timezone.now()
    put(client, "too late", "late, too", expires_at=now - timedelta(seconds=1))
    put(client, "in time", expires_at=now + timedelta(minutes=1))
    assert texts(claim(client, 2)) == ["in time"]
    assert statuses() == ["expired", "expired", "claimed"]
    row = OutboxMessage.objects.get(text="too late")
    assert row.reason == "it waited for too long"
    assert row.ended_at is not None


def test_large_messages_are_claimed_fewer_at_a_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", 10)
    OutboxMessage.objects.put(client.pk, binary=b"x" * 11)
    put(client, "12345", "12345", "1")
    assert [len(message.binary or b"") for message in claim(client)] == [11]
    assert texts(claim(client)) == ["12345", "12345"]
    assert texts(claim(client)) == ["1"]


def test_a_close_is_claimed_by_itself_only_when_nothing_is_left_before_it(client: Client) -> None:
    messages, now = OutboxMessage.objects, timezone.now()
    (before,) = put(client, "before")
    messages.put(client.pk, close_code=1000)
    for status in ("queued", "claimed", "written"):
        messages.filter(pk=before).update(status=status)
        assert messages.closing_of([client.pk]) == set()
        assert messages.claim_close(client.pk, EPOCH, now) is None
    for status in ("acknowledged", "uncertain", "expired", "dead"):
        messages.filter(pk=before).update(status=status)
        assert messages.closing_of([client.pk]) == {client.pk}
    close = messages.claim_close(client.pk, EPOCH, now)
    assert close is not None
    assert close.close_code == 1000
    assert messages.claim_close(client.pk, EPOCH, now) is None


def test_clients_with_something_queued_are_found(client: Client) -> None:
    other = Client.objects.create(name="other", uri="ws://example.com", handler="h")
    make(other, OutboxStatus.WRITTEN)
    put(client, "x")
    both = [client.pk, other.pk]
    assert OutboxMessage.objects.waiting_of(both) == {client.pk}
    assert OutboxMessage.objects.waiting_of([other.pk]) == set()


# What became of it


def now() -> datetime:
    return timezone.now()


def acknowledge(row: OutboxMessage, epoch: int) -> int:
    return OutboxMessage.objects.acknowledge([row.pk], epoch, now(), now())


def written(row: OutboxMessage, epoch: int) -> int:
    return OutboxMessage.objects.written([row.pk], epoch, now())


def fail(row: OutboxMessage, epoch: int) -> int:
    return OutboxMessage.objects.fail([row.pk], epoch, now(), "no frame")


def put_back(row: OutboxMessage, epoch: int) -> int:
    return OutboxMessage.objects.put_back(row.client_id, epoch, except_for=())


@pytest.mark.parametrize("status", list(OutboxStatus))
@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        (written, {"claimed"}, "written"),
        (acknowledge, {"claimed", "written"}, "acknowledged"),
        (put_back, {"claimed"}, "queued"),
        (fail, {"claimed", "written", "uncertain"}, "dead"),
    ],
)
def test_a_runner_moves_only_what_stands_where_it_must_and_under_its_own_epoch(
    client: Client,
    verb: Callable[[OutboxMessage, int], int],
    before: set[str],
    after: str,
    status: OutboxStatus,
) -> None:
    row = make(client, status)
    assert verb(row, EPOCH + 1) == 0
    assert statuses() == [status]
    moved = status in before
    assert verb(row, EPOCH) == moved
    assert statuses() == [after if moved else status]


def test_when_it_was_written_is_kept_and_told_with_the_pong_where_it_was_not(
    client: Client,
) -> None:
    first, second = make(client, OutboxStatus.CLAIMED), make(client, OutboxStatus.CLAIMED)
    early, late = now() - timedelta(seconds=2), now()
    messages = OutboxMessage.objects
    messages.written([first.pk], EPOCH, early)
    messages.acknowledge([first.pk, second.pk], EPOCH, late, late)
    times = messages.order_by("id").values_list("written_at", "ended_at")
    assert list(times) == [(early, late), (late, late)]


def test_what_was_not_written_is_put_back_as_if_it_had_not_been_claimed(client: Client) -> None:
    ids = put(client, "a", "b")
    claim(client)
    moved = OutboxMessage.objects.put_back(client.pk, EPOCH, except_for=[ids[0]])
    assert (moved, statuses()) == (1, ["claimed", "queued"])
    row = OutboxMessage.objects.get(text="b")
    assert (row.attempts, row.epoch, row.claimed_at) == (0, None, None)
    assert texts(claim(client)) == ["b"]


# In doubt


def doubt(client: Client, manner: str) -> int:
    return OutboxMessage.objects.doubt(client.pk, manner, now())


def test_what_was_on_its_way_is_uncertain_where_it_may_be_sent_once(client: Client) -> None:
    for status in OutboxStatus:
        make(client, status, text=status)
    assert doubt(client, "hold") == 2
    assert statuses() == [
        "queued", "uncertain", "uncertain", "acknowledged", "expired", "dead", "uncertain",
    ]  # fmt: skip
    assert "may have arrived" in OutboxMessage.objects.get(text="claimed").reason
    assert doubt(client, "hold") == 0


def test_what_was_on_its_way_is_queued_again_in_its_place_and_with_its_id(client: Client) -> None:
    put(client, "a", "b", "c")
    before = claim(client, 2)
    OutboxMessage.objects.written([before[0].id], EPOCH, now())
    assert doubt(client, "resend") == 0
    again = claim(client, 3, epoch=EPOCH + 1)
    assert texts(again) == ["a", "b", "c"]
    assert [m.message_id for m in again[:2]] == [m.message_id for m in before]


@pytest.mark.parametrize("manner", ["hold", "resend"])
def test_a_close_is_queued_again_whatever_was_before_it(client: Client, manner: str) -> None:
    put(client, "before")
    OutboxMessage.objects.put(client.pk, close_code=1000)
    claim(client)
    doubt(client, manner)
    assert statuses() == ["uncertain" if manner == "hold" else "queued", "queued"]


def test_a_message_that_breaks_each_connection_is_given_up_and_those_behind_it_are_not(
    client: Client,
) -> None:
    put(client, "poison", "good", "fine")
    for _ in range(MOST_ATTEMPTS - 1):
        assert texts(claim(client)) == ["poison", "good", "fine"]
        assert doubt(client, "resend") == 0
    claim(client)
    assert doubt(client, "resend") == 1
    assert statuses() == ["dead", "queued", "queued"]
    reason = OutboxMessage.objects.get(text="poison").reason
    assert reason == f"{MOST_ATTEMPTS} connections broke while it was the first on its way"
    assert texts(claim(client)) == ["good", "fine"]
    assert list(OutboxMessage.objects.order_by("id").values_list("attempts", flat=True)) == [
        MOST_ATTEMPTS, 1, 1,
    ]  # fmt: skip


# By the clock and by hand


def test_only_what_is_queued_expires(client: Client) -> None:
    over = now() - timedelta(seconds=1)
    for status in OutboxStatus:
        make(client, status, expires_at=over)
    make(client, OutboxStatus.QUEUED)
    make(client, OutboxStatus.QUEUED, expires_at=now() + timedelta(minutes=1))
    assert OutboxMessage.objects.expire(now()) == 1
    assert OutboxMessage.objects.expire(now()) == 0
    assert statuses() == ["expired", *list(OutboxStatus)[1:], "queued", "queued"]


def test_an_operator_sends_again_what_did_not_arrive_for_sure_and_it_expires_no_more(
    client: Client,
) -> None:
    for status in OutboxStatus:
        make(client, status, expires_at=now(), attempts=MOST_ATTEMPTS)
    ids = list(OutboxMessage.objects.order_by("id").values_list("message_id", flat=True))
    assert OutboxMessage.objects.resend() == 3
    assert statuses() == ["queued", "claimed", "written", "acknowledged", *["queued"] * 3]
    row = OutboxMessage.objects.latest("id")
    assert (row.reason, row.expires_at, row.attempts, row.epoch, row.ended_at) == (
        "sent again by an operator", None, 0, None, None,
    )  # fmt: skip
    assert list(OutboxMessage.objects.order_by("id").values_list("message_id", flat=True)) == ids


def test_a_close_that_was_given_up_is_not_sent_again(client: Client) -> None:
    make(client, OutboxStatus.DEAD, text=None, close_code=1000)
    assert OutboxMessage.objects.resend() == 0
    assert statuses() == ["dead"]


def test_an_operator_gives_up_what_waits_or_is_uncertain(client: Client) -> None:
    for status in OutboxStatus:
        make(client, status)
    assert OutboxMessage.objects.discard(now(), "not wanted any more") == 2
    assert statuses() == [
        "dead", "claimed", "written", "acknowledged", "expired", "dead", "dead",
    ]  # fmt: skip
    assert OutboxMessage.objects.earliest("id").reason == "not wanted any more"


# The lease


def test_the_lock_of_a_lease_holds_for_its_holder_and_epoch_alone(client: Client) -> None:
    ClientRuntime.objects.create(
        client=client, holder_id="one", epoch=EPOCH, state=ClientState.OPEN
    )
    lock = ClientRuntime.objects.lock
    with transaction.atomic():
        assert lock(client.pk, "one", EPOCH)
        assert not lock(client.pk, "two", EPOCH)
        assert not lock(client.pk, "one", EPOCH - 1)


@pytest.mark.parametrize(
    "wrong", [{"text": "x", "close_code": 1000}, {"text": "x", "status": "?"}]
)
def test_the_table_refuses_what_is_no_message(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        OutboxMessage.objects.create(client=client, **wrong)
