"""Each change of the descriptors is applied, once; one bad row stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from websockets_app.database import DatabaseThread
from websockets_app.models import Endpoint
from websockets_app.node.watcher import Change, Watcher

Applied = list[tuple[dict[int, str], frozenset[int]]]


class Watched:
    """A watcher of the served endpoints, and what it applied."""

    def __init__(self, thread: DatabaseThread) -> None:
        self.applied: Applied = []
        self.trouble: Exception | None = None
        self.poison = ""
        self.prepare: Callable[[Endpoint], str] = self._prepare
        self.watcher = Watcher(
            thread, Endpoint.objects.served, lambda row: self.prepare(row), self._apply
        )

    async def poll(self) -> Applied:
        """Look once; return what was applied."""
        self.applied.clear()
        await self.watcher.poll()
        return self.applied

    def _prepare(self, row: Endpoint) -> str:
        if row.endpoint == self.poison:
            raise TypeError("'NoneType' object is not iterable")
        return row.handler

    async def _apply(self, change: Change[str]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.applied.append((dict(change.changed), change.removed))


@pytest.fixture
def watched(thread: DatabaseThread) -> Watched:
    return Watched(thread)


async def create(name: str, **fields: Any) -> Endpoint:
    return await Endpoint.objects.acreate(**{"endpoint": name, "handler": "one", **fields})


NOTHING: frozenset[int] = frozenset()


async def test_what_is_there_at_first_is_a_change(watched: Watched) -> None:
    first = await create("a")
    await create("disabled", enabled=False)
    assert await watched.poll() == [({first.pk: "one"}, NOTHING)]


async def test_an_empty_table_is_applied_too_so_that_it_is_known_to_be_empty(
    watched: Watched,
) -> None:
    assert await watched.poll() == [({}, NOTHING)]
    assert await watched.poll() == []


async def test_each_change_is_applied_once_and_only_what_changed(watched: Watched) -> None:
    first, second = await create("a"), await create("b")
    await watched.poll()
    assert await watched.poll() == []
    await Endpoint.objects.filter(pk=first.pk).aupdate(handler="two")
    assert await watched.poll() == [({first.pk: "two"}, NOTHING)]
    third = await create("c")
    assert await watched.poll() == [({third.pk: "one"}, NOTHING)]
    key = second.pk
    await second.adelete()
    assert await watched.poll() == [({}, frozenset({key}))]
    assert await watched.poll() == []


async def test_a_row_that_the_query_no_longer_returns_is_removed(watched: Watched) -> None:
    row = await create("a")
    await watched.poll()
    await Endpoint.objects.aupdate(enabled=False)
    assert await watched.poll() == [({}, frozenset({row.pk}))]
    await Endpoint.objects.aupdate(enabled=True)
    assert await watched.poll() == [({row.pk: "one"}, NOTHING)]


async def test_a_change_and_its_undoing_between_two_looks_is_a_change(watched: Watched) -> None:
    row = await create("a")
    await watched.poll()
    await Endpoint.objects.aupdate(handler="two")
    await Endpoint.objects.aupdate(handler="one")
    assert await watched.poll() == [({row.pk: "one"}, NOTHING)]


async def test_a_change_whose_application_fails_is_applied_at_the_next_look(
    watched: Watched,
) -> None:
    row = await create("a")
    watched.trouble = RuntimeError("not now")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await watched.poll()
    watched.trouble = None
    assert await watched.poll() == [({row.pk: "one"}, NOTHING)]


async def test_a_row_that_can_not_be_used_keeps_no_other_from_being_applied(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.poison = "bad"
    await create("bad")
    good = await create("good")
    assert await watched.poll() == [({good.pk: "one"}, NOTHING)]
    assert "Endpoint bad can't be used" in caplog.text
    caplog.clear()
    assert await watched.poll() == []
    assert not caplog.text


async def test_a_row_that_becomes_unusable_is_withdrawn_and_comes_back_once_repaired(
    watched: Watched,
) -> None:
    row = await create("a")
    await watched.poll()
    watched.poison = "a"
    await Endpoint.objects.aupdate(handler="two")
    assert await watched.poll() == [({}, frozenset({row.pk}))]
    watched.poison = ""
    await Endpoint.objects.aupdate(handler="three")
    assert await watched.poll() == [({row.pk: "three"}, NOTHING)]


async def test_a_database_that_fails_in_the_middle_withdraws_nothing(watched: Watched) -> None:
    def fail(row: Endpoint) -> str:
        raise OperationalError("server closed the connection unexpectedly")

    row = await create("a")
    await watched.poll()
    await Endpoint.objects.aupdate(handler="two")
    prepare, watched.prepare = watched.prepare, fail
    with pytest.raises(OperationalError):
        await watched.poll()
    assert watched.applied == []
    watched.prepare = prepare
    assert await watched.poll() == [({row.pk: "two"}, NOTHING)]


async def test_a_row_that_changes_while_it_is_read_is_seen_again(watched: Watched) -> None:
    row = await create("a")

    def change_behind_the_back(found: Endpoint) -> str:
        watched.prepare = lambda row: row.handler
        Endpoint.objects.update(handler="newer")
        return found.handler

    watched.prepare = change_behind_the_back
    assert await watched.poll() == [({row.pk: "one"}, NOTHING)]
    assert await watched.poll() == [({row.pk: "newer"}, NOTHING)]
    assert await watched.poll() == []


async def test_a_look_at_nothing_new_costs_one_query(
    watched: Watched, thread: DatabaseThread
) -> None:
    for number in range(20):
        await create(f"e{number}")
    await watched.poll()

    def look() -> int:
        with CaptureQueriesContext(connections["default"]) as queries:
            assert watched.watcher._look() is None
        return len(queries)

    assert await thread.run(look) == 1


async def test_what_prepares_runs_in_the_database_s_thread(watched: Watched) -> None:
    names = []

    def prepare(row: Endpoint) -> str:
        names.append(threading.current_thread().name)
        return row.handler

    await create("a")
    watched.prepare = prepare
    await watched.poll()
    assert names[0].startswith("websockets-test")


async def test_hundreds_of_changes_at_once_are_all_applied(watched: Watched) -> None:
    rows = [Endpoint(endpoint=f"e{number}", handler="one") for number in range(1500)]
    await sync_to_async(Endpoint.objects.bulk_create)(rows)
    [(changed, _)] = await watched.poll()
    assert len(changed) == 1500
