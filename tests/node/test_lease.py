"""A node's lease: renewed while it lives, reaped when it stands still, taken up again."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import ClientState, NodeKind
from websockets_app.database import DatabaseThread
from websockets_app.models import Client, ClientRuntime, Event, Node, Session
from websockets_app.node.lease import Lease, reap

TTL = 0.3


@pytest.fixture
def lease(thread: DatabaseThread) -> Lease:
    return Lease("a", NodeKind.SERVER, thread)


@pytest.fixture
def observer(thread: DatabaseThread, settings: Settings) -> Lease:
    """Another node, which doesn't wait for long."""
    settings.WEBSOCKETS = {"NODE_TTL": TTL}
    return Lease("observer", NodeKind.SERVER, thread)


async def is_lost_to(observer: Lease) -> bool:
    """Let the observer look once more; tell whether it has given the node up."""
    await observer.beat()
    return (await Node.objects.aget(pk="a")).state == "lost"


async def open_session(name: str, node: str = "a", **fields: Any) -> None:
    await Session.objects.acreate(
        id=name, node_id=node, endpoint_path="echo", path="/", opened_at=timezone.now(), **fields
    )


async def test_the_first_beat_registers_and_the_next_renew(lease: Lease) -> None:
    lease.server = "daphne"
    await lease.beat()
    node = await Node.objects.aget()
    assert (node.pk, node.kind, node.state, node.server) == ("a", "server", "alive", "daphne")
    assert node.pid == os.getpid()
    await lease.beat()
    await lease.beat()
    assert (await Node.objects.aget()).beat == 2
    assert lease.renewed_at is not None


async def test_a_lease_that_is_given_back_is_over(lease: Lease) -> None:
    await lease.beat()
    await lease.give_back()
    assert (await Node.objects.aget()).state == "stopped"


async def test_a_registration_that_was_committed_without_an_answer_is_not_repeated(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = Node.objects.register

    def answer_is_lost(*args: Any, **options: Any) -> None:
        register(*args, **options)
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(Node.objects, "register", answer_is_lost)
        with pytest.raises(OperationalError):
            await lease.beat()
    await lease.beat()
    assert (await Node.objects.aget()).beat == 1


async def test_a_node_that_stands_still_is_reaped_and_what_it_held_is_closed(
    lease: Lease, observer: Lease, caplog: pytest.LogCaptureFixture
) -> None:
    await lease.beat()
    await open_session("open", endpoint_id=7)
    await open_session("elsewhere", node="b")
    await open_session("left", closed_at=timezone.now(), close_cause="peer")
    client = await Client.objects.acreate(name="c", uri="ws://x", handler="h")
    await ClientRuntime.objects.acreate(client=client, holder_id="a", epoch=5, state="open")
    await aeventually(lambda: is_lost_to(observer))
    node = await Node.objects.aget(pk="a")
    assert node.state == "lost"
    assert node.stopped_at is not None
    lost = await Session.objects.aget(pk="open")
    assert (lost.close_cause, lost.close_code) == ("node_lost", 1006)
    assert (await Session.objects.aget(pk="elsewhere")).is_open
    assert (await Session.objects.aget(pk="left")).close_cause == "peer"
    runtime = await ClientRuntime.objects.aget()
    assert (runtime.holder_id, runtime.epoch) == (None, 6)
    assert (runtime.state, runtime.reason) == (ClientState.UNASSIGNED, "its runner was lost")
    [close] = [event async for event in Event.objects.filter(kind="close")]
    assert (close.peer, close.cause, close.code, close.name) == ("open", "node_lost", 1006, "echo")
    assert (close.endpoint_id, close.direction) == (7, "in")
    [told] = [event async for event in Event.objects.filter(kind="node_lost")]
    assert told.peer == "a"
    assert "Node a is lost: 1 sessions closed, 1 clients released" in caplog.text


async def test_a_node_that_renews_is_not_reaped(lease: Lease, observer: Lease) -> None:
    await lease.beat()
    deadline = time.monotonic() + 2 * TTL
    while time.monotonic() < deadline:
        await lease.beat()
        assert not await is_lost_to(observer)
    assert await Event.objects.acount() == 0


async def test_a_node_that_moved_at_the_last_moment_is_not_reaped(lease: Lease) -> None:
    await lease.beat()
    await open_session("open")
    await lease.beat()
    assert not await sync_to_async(reap)("a", 0, by="observer")
    assert await sync_to_async(reap)("a", 1, by="observer")
    assert not await sync_to_async(reap)("a", 1, by="another")
    assert await Event.objects.acount() == 2


async def test_a_session_that_has_its_close_event_gets_no_other_by_the_loss_of_its_node(
    lease: Lease,
) -> None:
    await lease.beat()
    await open_session("ended")  # its row is still to be written
    await Event.objects.acreate(
        kind="close", cause="peer", peer="ended", node_id="a", seq=2, at=timezone.now()
    )
    assert await sync_to_async(reap)("a", 0, by="observer")
    assert [event.cause async for event in Event.objects.filter(kind="close")] == ["peer"]
    assert not (await Session.objects.aget(pk="ended")).is_open


@pytest.mark.django_db(transaction=True)
def test_of_many_observers_at_once_one_reaps() -> None:
    Node.objects.register("a", NodeKind.SERVER, hostname="h", pid=1)
    Session.objects.create(
        id="s", node_id="a", endpoint_path="echo", path="/", opened_at=timezone.now()
    )
    begin, answers = threading.Barrier(6, timeout=20), []

    def observe(name: str) -> None:
        begin.wait()
        answers.append(reap("a", 0, by=name))
        connection.close()

    threads = [threading.Thread(target=observe, args=[f"o{n}"]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == [False] * 5 + [True]
    assert Event.objects.filter(kind="close").count() == 1


class Reactions:
    """What a node does that finds that it was reaped."""

    def __init__(self) -> None:
        self.count = 0
        self.trouble: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        if self.trouble:
            raise self.trouble


async def test_a_node_that_was_reaped_and_lives_takes_its_lease_and_its_rows_up_again(
    lease: Lease, caplog: pytest.LogCaptureFixture
) -> None:
    reactions = Reactions()
    lease.on_reaped.append(reactions)
    await lease.beat()
    await sync_to_async(reap)("a", 0, by="observer")
    await lease.beat()
    assert (await Node.objects.aget()).state == "alive"
    assert reactions.count == 1
    assert "Node a was declared lost and lives" in caplog.text
    await lease.beat()
    assert reactions.count == 1


async def test_a_node_whose_row_was_deleted_registers_anew_and_reacts(lease: Lease) -> None:
    reactions = Reactions()
    lease.on_reaped.append(reactions)
    await lease.beat()
    assert reactions.count == 0
    await Node.objects.all().adelete()
    await lease.beat()
    assert (await Node.objects.aget()).state == "alive"
    assert reactions.count == 1


async def test_a_reaction_that_fails_is_repeated_at_the_next_beat(lease: Lease) -> None:
    reactions = Reactions()
    reactions.trouble = RuntimeError("not now")
    lease.on_reaped.append(reactions)
    await lease.beat()
    await sync_to_async(reap)("a", 0, by="observer")
    with pytest.raises(RuntimeError):
        await lease.beat()
    reactions.trouble = None
    await lease.beat()
    assert reactions.count == 2


async def test_a_look_at_the_others_that_fails_forgets_no_reaction(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, int]:
        raise OperationalError("server closed the connection unexpectedly")

    reactions = Reactions()
    lease.on_reaped.append(reactions)
    await lease.beat()
    await sync_to_async(reap)("a", 0, by="observer")
    monkeypatch.setattr(Node.objects, "beats", fail)
    with pytest.raises(OperationalError):
        await lease.beat()
    assert reactions.count == 1


@pytest.mark.parametrize("failing", ["renew", "beats"])
async def test_a_database_that_was_away_starts_everybody_s_time_anew(
    lease: Lease, observer: Lease, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*arguments: str) -> bool:
        raise OperationalError("server closed the connection unexpectedly")

    await lease.beat()
    await observer.beat()
    seen_first = time.monotonic()
    await asyncio.sleep(TTL / 3)
    with monkeypatch.context() as patched:
        patched.setattr(Node.objects, failing, fail)
        with pytest.raises(OperationalError):
            await observer.beat()
    seen_anew = time.monotonic()
    await aeventually(lambda: is_lost_to(observer))
    assert time.monotonic() - seen_anew >= TTL
    assert seen_anew - seen_first >= TTL / 3


async def test_the_deadline_counts_from_the_beginning_of_a_renewal(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lease.beat()
    first = lease.renewed_at
    renew = Node.objects.renew
    asked_at: list[float] = []

    def slow(node_id: str) -> bool:
        asked_at.append(time.monotonic())
        return renew(node_id)

    monkeypatch.setattr(Node.objects, "renew", slow)
    await lease.beat()
    assert first is not None
    assert lease.renewed_at is not None
    assert first < lease.renewed_at <= asked_at[0]
