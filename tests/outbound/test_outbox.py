"""The outbox where its database fails, its lease goes, or everything breaks at once."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import MakeHandler, MakePeer, Supervised, in_thread, queue
from tests.outbound.inbox import Inbox
from websockets_app.models import Client, ClientRuntime, OutboxMessage
from websockets_app.outbound import outbox as module
from websockets_app.outbound.handle import WebsocketClient
from websockets_app.outbound.leases import Hold

UNITS = ("_look", "_claim", "_settle", "_close", "_close_next", "_write")
ENDS = {"acknowledged", "uncertain"}


async def statuses() -> dict[str | None, str]:
    return {row.text: row.status async for row in OutboxMessage.objects.order_by("id")}


async def all_are(*wanted: str, timeout: float = 10) -> dict[str | None, str]:
    async def so() -> dict[str | None, str]:
        found = await statuses()
        assert set(found.values()) <= {*wanted}, Counter(found.values())
        return found

    found: dict[str | None, str] = await aeventually(so, timeout)
    return found


class Faults:
    """Makes units of work fail, before they did anything or after they were committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rate: Callable[[], float]) -> None:
        self.happened = 0
        self._rate = rate
        self._random = random.Random()
        for name in UNITS:
            monkeypatch.setattr(module, name, self._faulty(getattr(module, name)))

    def _faulty(self, unit: Callable[..., Any]) -> Callable[..., Any]:
        def work(*args: Any, **kwargs: Any) -> Any:
            # Inside another unit's transaction a fault is that unit's.
            outermost = not connection.in_atomic_block
            if outermost:
                self._maybe_fail("before")
            done = unit(*args, **kwargs)
            if outermost:
                self._maybe_fail("and nobody heard that it was committed")
            return done

        return work

    def _maybe_fail(self, when: str) -> None:
        if self._random.random() < self._rate():
            self.happened += 1
            raise OperationalError(f"the database is away: {when}")


async def test_a_lease_that_is_lost_is_noticed_before_anything_is_written(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    row = await supervised.wait_for("open")
    await ClientRuntime.objects.aupdate(holder_id="another", epoch=row.epoch + 1)
    await WebsocketClient.of(client).asend("not mine to send")
    await aeventually(lambda: inbox.closes == [(1001, "")])
    assert inbox.messages == []
    assert await statuses() == {"not mine to send": "queued"}
    assert (await supervised.close()).cause == "lease_lost"


@pytest.mark.django_db
def test_a_client_that_is_not_ours_any_more_is_lost_and_one_that_was_deleted_is_not() -> None:
    client = Client.objects.create(name="client", uri="ws://a/", handler="made_handlers.made0")
    ClientRuntime.objects.create(client=client, holder_id="another", epoch=2)
    hold = Hold(client.pk, 1)

    def outcomes() -> list[Any]:
        return [
            module._claim({}, "me", hold, 10, None),
            module._settle({}, "me", hold, []),
            module._close("me", hold, 1),
        ]

    assert outcomes() == [None, None, None]
    client.delete()
    assert outcomes() == [[], 0, False]


async def test_what_an_earlier_runner_left_is_settled_without_a_connection(
    supervised: Supervised, make_handler: MakeHandler, unused_tcp_port: int
) -> None:
    uri, handler = f"ws://127.0.0.1:{unused_tcp_port}/", make_handler()
    client = await supervised.add(uri, handler, desired="stop")
    left = {"status": "claimed", "epoch": 5, "attempts": 1}
    await OutboxMessage.objects.acreate(client=client, text="claimed", **left)
    await OutboxMessage.objects.acreate(
        client=client, text="written", **left | {"status": "written"}
    )
    await queue(client, "queued")
    await ClientRuntime.objects.acreate(client=client, epoch=5)
    await Client.objects.aupdate(desired="run")
    expected = {"claimed": "uncertain", "written": "uncertain", "queued": "queued"}

    async def settled() -> bool:
        return await statuses() == expected

    await aeventually(settled)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="locks SQLite's file")
async def test_what_is_sent_around_a_lock_of_the_database_arrives_once_and_in_order(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim, locked = module._claim, asyncio.Event()
    file = connection.settings_dict["NAME"]
    loop = asyncio.get_running_loop()

    def lock_and_claim(*args: Any) -> Any:
        if inbox.messages and not other.in_transaction:
            other.execute("BEGIN EXCLUSIVE")
            loop.call_soon_threadsafe(locked.set)
        return claim(*args)

    with closing(
        sqlite3.connect(file, isolation_level=None, timeout=20, check_same_thread=False)
    ) as other:
        monkeypatch.setattr(module, "_claim", lock_and_claim)
        client = await supervised.add(await make_peer(inbox), make_handler())
        expected = [str(number) for number in range(300)]
        await queue(client, *expected)
        await aeventually(locked.is_set)
        monkeypatch.setattr(module, "_claim", claim)
        assert len(inbox.messages) < len(expected)
        assert len(inbox.sockets) == 1
        other.execute("ROLLBACK")
    await all_are("acknowledged")
    assert inbox.messages == expected
    assert len(inbox.sockets) == 1


async def test_a_database_that_fails_for_a_while_loses_and_doubles_nothing(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = False
    faults = Faults(monkeypatch, lambda: 1.0 if away else 0.0)
    client = await supervised.add(await make_peer(inbox), make_handler())
    expected = [str(number) for number in range(300)]
    await queue(client, *expected[:150])
    await aeventually(lambda: inbox.messages)
    away = True
    await aeventually(lambda: faults.happened > 5)
    await queue(client, *expected[150:])
    away = False
    await all_are("acknowledged")
    assert inbox.messages == expected
    assert len(inbox.sockets) == 1


async def test_a_claim_whose_answer_was_lost_is_sent_once_and_before_what_came_after(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim, lost = module._claim, []

    def commit_and_fail_once(*args: Any) -> Any:
        claimed = claim(*args)
        if claimed and not lost:
            lost.extend(claimed)
            raise OperationalError("the connection broke after the commit")
        return claimed

    monkeypatch.setattr(module, "_claim", commit_and_fail_once)
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, "one", "two")
    await aeventually(lambda: lost)
    await queue(client, "three")
    await all_are("acknowledged")
    assert inbox.messages == ["one", "two", "three"]


@pytest.mark.parametrize("manner", ["hold", "resend"])
async def test_when_connections_break_and_the_database_fails_at_random_no_promise_is_broken(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    manner: str,
) -> None:
    monkeypatch.setattr("websockets_app.outbound.sender.RETRY_SECONDS", 0.05)
    rate = 0.2
    faults = Faults(monkeypatch, lambda: rate)
    uri, handler = await make_peer(inbox), make_handler()
    client = await supervised.add(uri, handler, on_uncertain=manner, backoff_ceiling=0.1)
    sent: list[str] = []
    for burst in range(10):
        texts = [f"{burst} {number}" for number in range(random.choice([1, 5, 60, 150]))]
        sent += texts
        await queue(client, *texts)
        await aeventually(lambda: inbox.sockets)
        if random.random() < 0.7:
            inbox.breaks_after = len(inbox.messages) + random.randint(1, 150)
        if random.random() < 0.3:
            inbox.break_off()
        inbox.pongs = random.random() < 0.7
    inbox.pongs, inbox.breaks_after = True, None
    inbox.break_off()  # whoever still waits for a pong would wait for the keepalive
    await aeventually(lambda: faults.happened)
    rate = 0.0
    found = await all_are(*ENDS, timeout=20)
    assert list(found) == sent
    assert_promises(manner, found, [str(message) for message in inbox.messages])


def assert_promises(manner: str, found: dict[str | None, str], received: list[str]) -> None:
    """Compare what the rows say with what the peer has seen."""
    times = Counter(received)
    order = {text: index for index, text in enumerate(found)}
    acknowledged = {text for text, status in found.items() if status == "acknowledged"}
    if manner == "hold":
        assert [text for text in acknowledged if times[str(text)] != 1] == []
        assert [text for text, number in times.items() if number > 1] == []
        assert received == sorted(received, key=order.__getitem__)
    else:
        assert acknowledged == set(found) == set(received)
        firsts = list(dict.fromkeys(received))
        assert firsts == list(found)


async def test_each_of_several_senders_keeps_its_order(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    # Where several can write at once, tests/integration/test_outbox.py lets lower ids come later.
    client = await supervised.add(await make_peer(inbox), make_handler())
    handle = WebsocketClient.of(client)

    def send(name: str) -> None:
        for number in range(5):
            with transaction.atomic():
                handle.send(f"{name} {2 * number}")
                handle.send(f"{name} {2 * number + 1}")

    await asyncio.gather(*(in_thread(send, name) for name in "abc"))
    await aeventually(lambda: len(inbox.messages) == 30)
    for name in "abc":
        own = [message for message in inbox.messages if str(message)[0] == name]
        assert own == [f"{name} {number}" for number in range(10)]
