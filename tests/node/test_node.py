"""A node begins, keeps going, and leaves nothing open at its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from tests.infrastructure.layers import use_layer
from tests.infrastructure.waiting import aeventually
from tests.node.conftest import MakeNode
from tests.node.fakes import KeepingPeer
from websockets_app.core.states import NodeKind
from websockets_app.models import Endpoint, Event, Session
from websockets_app.models import Node as NodeRow
from websockets_app.models.endpoint import EndpointQuerySet
from websockets_app.node import mail
from websockets_app.node import node as nodes
from websockets_app.node.layer import NodeLayer
from websockets_app.node.node import Node, find_peer
from websockets_app.node.watcher import Change, Watcher
from websockets_app.recording.facts import moment


def watch(node: Node) -> list[Change[str]]:
    """Let a node watch the endpoints; return where the changes go."""
    changes: list[Change[str]] = []

    async def apply(change: Change[str]) -> None:
        changes.append(change)

    node.watch(Watcher(node.descriptors, Endpoint.objects.served, lambda row: row.endpoint, apply))
    return changes


async def test_a_node_registers_and_looks_at_the_descriptors_before_it_has_started(
    make_node: MakeNode,
) -> None:
    await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo")
    node = make_node()
    changes = watch(node)
    await node.start()
    assert [*changes[0].changed.values()] == ["echo"]
    assert (await NodeRow.objects.aget()).pk == node.id
    assert node in nodes.nodes()


async def test_a_node_renews_its_lease(make_node: MakeNode, settings: Settings) -> None:
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.01}
    await make_node().start()
    await aeventually(lambda: NodeRow.objects.filter(beat__gte=3).aexists())


async def test_a_node_that_stops_says_so_and_gives_its_lease_back(make_node: MakeNode) -> None:
    node = make_node()
    await node.start()
    await node.stop()
    assert (await NodeRow.objects.aget()).state == "stopped"
    kinds = [event.kind async for event in Event.objects.order_by("seq")]
    assert kinds == ["node_started", "node_stopped"]
    assert node not in nodes.nodes()


async def test_a_node_that_can_not_write_its_last_leaves_its_lease_to_be_reaped(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    await node.start()

    async def fail() -> bool:
        return False

    monkeypatch.setattr(node.recorder, "flush", fail)
    await node.stop()
    assert (await NodeRow.objects.aget()).state == "alive"


async def test_a_change_made_here_is_noticed_at_once(
    make_node: MakeNode, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"POLL_INTERVAL": 3600.0}
    node = make_node()
    changes = watch(node)
    await node.start()
    await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo")
    await aeventually(lambda: len(changes) == 2)


async def test_a_change_made_in_a_transaction_is_noticed_at_its_commit(
    make_node: MakeNode, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"POLL_INTERVAL": 3600.0}
    node = make_node()
    changes = watch(node)
    await node.start()
    noticed = []

    def change() -> None:
        with transaction.atomic():
            Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
            noticed.append(len(changes))

    await sync_to_async(change)()
    await aeventually(lambda: len(changes) == 2)
    assert noticed == [1]


async def test_a_change_that_nobody_announced_is_noticed_by_the_poll(
    make_node: MakeNode, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"POLL_INTERVAL": 0.05}
    row = await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo")
    node = make_node()
    changes = watch(node)
    await node.start()

    def change_behind_the_back() -> None:
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(Endpoint._meta.db_table)
            cursor.execute(f"UPDATE {table} SET revision = revision + 1")  # noqa: S608

    await sync_to_async(change_behind_the_back)()
    await aeventually(lambda: len(changes) == 2)
    assert row.pk in changes[1].changed


async def test_what_a_node_owns_is_kept_until_it_ends(make_node: MakeNode) -> None:
    node, release = make_node(), asyncio.Event()
    ended = []

    async def work() -> None:
        await release.wait()
        ended.append(True)

    node.own(work())
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    release.set()
    await aeventually(lambda: ended)
    assert not node._owned


async def test_what_a_node_s_work_raises_is_logged(
    make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("lost and found")

    node = make_node()
    await asyncio.gather(node.own(fail()), return_exceptions=True)
    assert "lost and found" in caplog.text


async def test_a_node_that_stops_waits_for_what_it_owns(make_node: MakeNode) -> None:
    node, ended = make_node(), []
    await node.start()

    async def work() -> None:
        await asyncio.sleep(0.05)
        ended.append(True)
        node.own(last())

    async def last() -> None:
        await asyncio.sleep(0.01)
        ended.append(True)

    node.own(work())
    await node.stop()
    assert ended == [True, True]


async def test_a_node_that_stops_cancels_what_does_not_end_in_time(
    make_node: MakeNode, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WEBSOCKETS = {"SHUTDOWN_TIMEOUT": 0.05}
    node, cancelled = make_node(), []
    await node.start()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    node.own(work())
    begun = time.monotonic()
    await node.stop()
    assert time.monotonic() - begun < 5
    assert cancelled == [True]
    assert "1 handlers did not end in time" in caplog.text
    assert (await NodeRow.objects.aget()).state == "stopped"


async def test_a_node_starts_although_the_database_is_away(
    make_node: MakeNode, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.02, "POLL_INTERVAL": 0.02}
    node = make_node()

    def away(*args: Any, **options: Any) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(NodeRow.objects, "renew", away)
        patched.setattr(EndpointQuerySet, "watermark", away)
        changes = watch(node)
        await node.start()
        assert not changes
        assert await NodeRow.objects.acount() == 0
    await aeventually(NodeRow.objects.aexists)
    await aeventually(lambda: changes)


async def test_a_peer_is_found_in_whichever_node_of_the_process_holds_it(
    make_node: MakeNode,
) -> None:
    first, second = make_node(), make_node()
    await first.start()
    await second.start()
    peer = KeepingPeer("tom")
    second.peers.add(peer)
    assert find_peer("tom") == (second, peer)
    assert find_peer("jerry") is None


def test_a_node_whose_loop_is_closed_is_no_node_of_the_process_any_more(
    transactional_db: None,
) -> None:
    async def begin() -> Node:
        node = Node(NodeKind.SERVER)
        await node.start()
        node.peers.add(KeepingPeer("tom"))
        return node

    with contextlib.suppress(asyncio.CancelledError):
        node = asyncio.run(begin())
    try:
        assert node not in nodes.nodes()
        assert find_peer("tom") is None
        Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    finally:
        node.close()


async def test_other_threads_may_hand_work_to_the_node_s_loop(make_node: MakeNode) -> None:
    node, threads = make_node(), []
    node.run_soon(lambda: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]
    other = threading.Thread(
        target=node.run_soon, args=[lambda: threads.append(threading.get_ident())]
    )
    other.start()
    await aeventually(lambda: len(threads) == 2)
    assert threads[1] == threading.get_ident()
    other.join()


async def test_a_node_that_died_is_reaped_by_the_next_that_starts(
    make_node: MakeNode, settings: Settings
) -> None:
    await NodeRow.objects.acreate(
        id="dead", kind="server", pid=1, started_at=moment(1), renewed_at=moment(1)
    )
    await Session.objects.acreate(
        id="s", node_id="dead", endpoint_path="echo", path="/", opened_at=moment(1)
    )
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.05, "NODE_TTL": 0.5}
    await make_node().start()
    await aeventually(lambda: Session.objects.filter(close_cause="node_lost").aexists())
    assert (await NodeRow.objects.aget(pk="dead")).state == "lost"


async def test_what_waited_for_a_node_that_died_is_counted_by_the_node_that_reaps_it(
    make_node: MakeNode, settings: Settings, valkey_url: str
) -> None:
    use_layer(settings, valkey_url)
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.05, "NODE_TTL": 0.5}
    dead = NodeLayer("dead")
    await dead._join()
    await NodeRow.objects.acreate(
        id="dead", kind="server", pid=1, channel=dead.channel,
        started_at=moment(1), renewed_at=moment(1),
    )  # fmt: skip
    node = make_node()
    await node.start()
    for text in ("one", "two"):
        await node.layer.post(dead.channel, mail.sending("s", text))
    await aeventually(lambda: NodeRow.objects.filter(pk="dead", mail_lost=2).aexists())
    assert await node.recorder.flush()
    gap = await Event.objects.aget(kind="gap")
    assert (gap.lost, gap.node_id) == (2, node.id)
    assert "forwarded to a node, which was lost" in gap.detail
    await dead.leave()
