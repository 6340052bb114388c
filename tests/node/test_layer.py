"""Nodes hurry each other over the channel layer: only that; whatever fails there is noticed later.

On a real Valkey.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import redis
from channels.layers import channel_layers, get_channel_layer
from channels_redis.core import RedisChannelLayer
from django.db import connection
from django.db.models import QuerySet
from pytest_django import Settings

from tests.infrastructure.layers import CORE, PUBSUB, use_layer
from tests.infrastructure.ports import free_port
from tests.infrastructure.tcp import running_relay
from tests.infrastructure.valkey import running_valkey
from tests.infrastructure.waiting import aeventually
from tests.node.conftest import MakeNode
from websockets_app.core.states import Topic
from websockets_app.exceptions import NodeUnreachable
from websockets_app.models import Endpoint
from websockets_app.models import Node as NodeRow
from websockets_app.node import channel_layer, mail, nudges
from websockets_app.node import layer as layers
from websockets_app.node.layer import GROUP, MAIL, NUDGE, NodeLayer
from websockets_app.node.watcher import Change, Watcher
from websockets_app.recording.facts import moment

IDLE_SECONDS = 7.0
"""Longer than the blocking pop of the layer, and than the default timeout of redis-py 8."""


class Listening:
    """A node's layer that listens, and how often it was nudged."""

    def __init__(self) -> None:
        self.nudged = 0
        self.layer = NodeLayer(on_nudge=self._nudge)
        self.task = asyncio.create_task(self.layer.listen())

    def _nudge(self, topic: Topic) -> None:
        self.nudged += 1
        self.topic = topic


Listen = Callable[[], Any]

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
LETTER = mail.fanning_out("room", "text")


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Start layers that listen; they end with the test, and so do the connections."""
    started: list[Listening] = []

    async def start() -> Listening:
        started.append(Listening())
        await aeventually(lambda: started[-1].layer.channel or started[-1].task.done())
        return started[-1]

    yield start
    for listening in started:
        listening.task.cancel()
    await asyncio.gather(*(listening.task for listening in started), return_exceptions=True)
    for listening in started:
        if isinstance(listening.layer._layer, RedisChannelLayer):
            await listening.layer._layer.close_pools()


@pytest.fixture
def valkey_layer(settings: Settings, valkey_url: str) -> None:
    use_layer(settings, valkey_url)


@pytest.mark.usefixtures("valkey_layer")
async def test_a_nudge_reaches_every_other_node_at_once(listen: Listen) -> None:
    first, second, third = [await listen() for _ in range(3)]
    await first.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: second.nudged and third.nudged, timeout=1.0, every=0.005)
    assert (second.nudged, third.nudged) == (1, 1)
    await first.layer.nudge(Topic.OUTBOX)
    await aeventually(lambda: second.nudged == 2)
    assert second.topic is Topic.OUTBOX


@pytest.mark.usefixtures("valkey_layer")
async def test_a_nudge_lets_another_node_look_long_before_its_poll(
    make_node: MakeNode, listen: Listen, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"POLL_INTERVAL": 3600.0}
    changes: list[Change[str]] = []

    async def apply(change: Change[str]) -> None:
        changes.append(change)

    node, elsewhere = make_node(), await listen()
    node.watch(Watcher(node.descriptors, Endpoint.objects.served, lambda row: row.handler, apply))
    await node.start()
    await aeventually(lambda: node.layer.channel)
    # What no signal of this process tells, since it comes from another one:
    rows = [Endpoint(endpoint="echo", handler="handlers.echo", revision=1)]
    await asyncio.to_thread(_insert_silently, rows)
    assert len(changes) == 1
    await elsewhere.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: len(changes) == 2, timeout=2.0)
    await node.stop()
    await cast("RedisChannelLayer", node.layer._layer).close_pools()


def _insert_silently(rows: list[Endpoint]) -> None:
    QuerySet(Endpoint).bulk_create(rows)
    connection.close()


@pytest.mark.usefixtures("valkey_layer")
async def test_an_emptied_valkey_is_healed_by_the_next_heartbeat(
    listen: Listen, valkey_url: str
) -> None:
    first, second = await listen(), await listen()
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    await first.layer.nudge(Topic.DESCRIPTORS)
    await second.layer.keep()
    await first.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: second.nudged, timeout=1.0)
    assert second.nudged == 1  # the first one went nowhere


@pytest.mark.usefixtures("valkey_layer")
@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.close"},
        {"type": "websockets_app.unknown"},
        {"type": "chat.message", "text": "hello"},
        {"no": "type"},
    ],
)
async def test_a_foreign_message_is_dropped_and_counted_and_the_next_nudge_comes_through(
    listen: Listen, message: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    node = await listen()
    channel_layer = get_channel_layer()
    assert channel_layer is not None
    await channel_layer.send(node.layer.channel, message)
    await channel_layer.group_send(GROUP, message)
    await aeventually(lambda: node.layer.dropped == 2)
    assert node.nudged == 0
    assert (node.layer.told()["mail_dropped"], node.layer.told()["mail_dropped"]) == (2, 2)
    assert caplog.text.count("2 layer messages that aren't ours were dropped") == 1
    assert "hello" not in caplog.text
    await node.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: node.nudged == 1)


@pytest.mark.usefixtures("valkey_layer")
async def test_a_flood_of_nudges_breaks_nothing_and_the_last_is_not_lost(listen: Listen) -> None:
    first, second = await listen(), await listen()
    for _ in range(300):
        await first.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: second.nudged >= 100)
    await aeventually(lambda: _is_heard(first, second))


async def _is_heard(first: Listening, second: Listening) -> bool:
    before = second.nudged
    await first.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: second.nudged > before)
    return True


async def test_a_valkey_that_goes_away_and_comes_back_is_joined_again(
    listen: Listen,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(layers, "RETRY_SECONDS", 0.05)
    port = free_port()
    with running_valkey(port) as url:
        use_layer(settings, url)
        first, second = await listen(), await listen()
    await first.layer.nudge(Topic.DESCRIPTORS)  # raises nothing
    await second.layer.keep()
    await aeventually(lambda: first.layer.trouble and second.layer.trouble)
    assert caplog.text.count("The channel layer fails") == 2
    with running_valkey(port):
        await aeventually(lambda: _are_healed(first, second))
        await first.layer.nudge(Topic.DESCRIPTORS)
        await aeventually(lambda: second.nudged)


async def _are_healed(*nodes: Listening) -> bool:
    """Let the nodes' heartbeats come; tell whether they reach the layer."""
    for node in nodes:
        await node.layer.keep()
    return not any(node.layer.trouble for node in nodes)


async def test_a_valkey_that_is_away_from_the_beginning_is_joined_when_it_comes(
    listen: Listen, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "RETRY_SECONDS", 0.05)
    port = free_port()
    use_layer(settings, f"redis://127.0.0.1:{port}")
    node = await listen()
    await aeventually(lambda: node.layer.trouble)
    with running_valkey(port):
        await aeventually(lambda: not node.layer.trouble)
        await node.layer.nudge(Topic.DESCRIPTORS)
        await aeventually(lambda: node.nudged)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers, as one that is frozen does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


async def test_a_layer_that_does_not_answer_is_given_up_for_the_time_being(
    listen: Listen, settings: Settings, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ANSWER_SECONDS", 0.1)
    use_layer(settings, silent_server)
    node = await listen()
    begun = time.monotonic()
    await node.layer.keep()
    await node.layer.nudge(Topic.DESCRIPTORS)
    assert time.monotonic() - begun < 2.0
    assert node.layer.trouble


async def test_a_layer_that_does_not_answer_keeps_no_node_from_renewing_its_lease(
    make_node: MakeNode, settings: Settings, silent_server: str
) -> None:
    use_layer(settings, silent_server)
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.01}
    node = make_node()
    await node.start()
    await aeventually(lambda: NodeRow.objects.filter(beat__gte=5).aexists(), timeout=1.5)
    await node.stop()
    await cast("RedisChannelLayer", node.layer._layer).close_pools()


async def test_a_layer_that_does_not_answer_holds_up_who_commits_elsewhere_only_now_and_then(
    settings: Settings, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(nudges, "_outside", nudges._Throttle(0))
    use_layer(settings, silent_server)

    def commit_often() -> float:
        begun = time.monotonic()
        for _ in range(50):
            nudges.nudge_watchers()
        return time.monotonic() - begun

    assert 0.2 < await asyncio.to_thread(commit_often) < 2.0


async def test_a_process_without_a_node_nudges_again_after_a_while(
    listen: Listen, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudges, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(nudges, "_outside", nudges._Throttle(0))
    port = free_port()
    use_layer(settings, f"redis://127.0.0.1:{port}")
    await asyncio.to_thread(nudges.nudge_watchers)
    assert not nudges._outside.lets_through()
    with running_valkey(port) as url:
        use_layer(settings, url)
        node = await listen()
        await aeventually(lambda: node.layer.channel)

        async def nudged() -> int:
            await asyncio.to_thread(nudges.nudge_watchers)
            return int(node.nudged)

        await aeventually(nudged)


async def test_a_node_that_hears_nothing_for_a_while_still_hears_the_next_nudge(
    listen: Listen, settings: Settings, valkey_url: str
) -> None:
    use_layer(settings, valkey_url)
    first, second = await listen(), await listen()
    use_layer(settings, valkey_url, socket_timeout=5)  # as redis-py 8 does by default
    unadvised, other = await listen(), await listen()
    channel = second.layer.channel
    await asyncio.sleep(IDLE_SECONDS)
    assert not second.layer.trouble
    assert second.layer.channel == channel
    await aeventually(lambda: other.layer.channel and not other.layer.trouble)
    for sender, receiver in ((first, second), (unadvised, other)):
        await sender.layer.nudge(Topic.DESCRIPTORS)
        await aeventually(lambda: receiver.nudged, timeout=3.0)  # noqa: B023


async def test_the_layer_in_memory_serves_one_process(listen: Listen, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    first, second = await listen(), await listen()
    await first.layer.nudge(Topic.DESCRIPTORS)
    await aeventually(lambda: first.nudged and second.nudged)


@pytest.mark.parametrize("without", ["setting", "layers"])
async def test_without_a_layer_nodes_only_poll(
    listen: Listen, settings: Settings, without: str
) -> None:
    if without == "setting":
        settings.WEBSOCKETS = {"CHANNEL_LAYER": None}
    else:
        settings.CHANNEL_LAYERS = {}
    node = await listen()
    await node.task
    await node.layer.nudge(Topic.DESCRIPTORS)
    await node.layer.keep()
    assert node.layer.channel == ""
    assert node.nudged == 0


async def test_a_layer_may_have_another_name(listen: Listen, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"nodes": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.WEBSOCKETS = {"CHANNEL_LAYER": "nodes"}
    node = await listen()
    await channel_layers["nodes"].group_send(GROUP, {"type": NUDGE})
    await aeventually(lambda: node.nudged)


@pytest.mark.usefixtures("valkey_layer")
async def test_a_site_s_own_consumers_hear_on_the_layer_that_a_node_listens_on(
    make_node: MakeNode,
) -> None:
    node = make_node()
    await node.start()
    await aeventually(lambda: node.layer.channel)
    shared = get_channel_layer()
    assert isinstance(shared, RedisChannelLayer)
    channel = await shared.new_channel()
    hearing = asyncio.create_task(shared.receive(channel))
    await shared.send(channel, {"type": "chat.message"})
    assert await asyncio.wait_for(hearing, 5) == {"type": "chat.message"}
    await shared.close_pools()


@pytest.mark.parametrize("backend", [CORE, PUBSUB])
async def test_a_connection_that_is_lost_without_a_word_is_made_anew(
    listen: Listen,
    settings: Settings,
    valkey_url: str,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(layers, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(layers, "ANSWER_SECONDS", 0.2)
    port = urlsplit(valkey_url).port
    assert port
    async with running_relay(port) as relay:
        use_layer(settings, f"redis://127.0.0.1:{relay.port}", backend)
        first, second = await listen(), await listen()
        await aeventually(lambda: hears(first, second))
        relay.lose_all()
        await aeventually(lambda: hears(first, second), timeout=10)
        await aeventually(lambda: hears(second, first), timeout=10)
    assert "nothing arrives any more, not even from this node itself" in caplog.text


async def hears(sender: Listening, receiver: Listening) -> bool:
    """Let a heartbeat of both come; tell whether one hears the other."""
    for listening in (sender, receiver):
        await listening.layer.keep()
    before = receiver.nudged
    await sender.layer.nudge(Topic.DESCRIPTORS)
    await asyncio.sleep(0.01)  # whoever is deaf must not be told so before it could hear
    return receiver.nudged > before


@pytest.mark.usefixtures("valkey_layer")
async def test_what_the_layer_drops_for_capacity_is_told_to_the_sender_or_counted(
    make_node: MakeNode, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.05}
    monkeypatch.setattr(channel_layer, "CAPACITY", 20)
    sender, receiver = make_node(), make_node()
    for node in (sender, receiver):
        await node.start()
        await aeventually(lambda: node.layer.channel)  # noqa: B023
    await sender.layer.post_to_all(LETTER, [sender.id])
    await aeventually(lambda: receiver.layer._broadcasts._heard)
    receiver._loops[0].cancel()  # which listens

    async def fill() -> None:
        for _ in range(21):  # or fewer: what the node writes to itself waits there, too
            await sender.layer.post(receiver.layer.channel, LETTER)

    with pytest.raises(NodeUnreachable, match="doesn't keep up"):
        await fill()
    for _ in range(5):
        await sender.layer.post_to_all(LETTER, [sender.id])
    receiver.begin(receiver.layer.listen())
    await aeventually(lambda: not receiver.layer._unheard)

    async def is_counted() -> bool:
        await sender.layer.post_to_all(LETTER, [sender.id])
        row = await NodeRow.objects.aget(pk=receiver.id)
        return row.mail_lost >= 5

    await aeventually(is_counted)
    assert (await NodeRow.objects.aget(pk=sender.id)).mail_lost == 0


@pytest.mark.usefixtures("valkey_layer")
async def test_a_forged_number_is_dropped_and_counts_as_no_loss(
    make_node: MakeNode, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.02}
    node = make_node()
    await node.start()
    await aeventually(lambda: node.layer.channel)
    shared = get_channel_layer()
    assert isinstance(shared, RedisChannelLayer)
    for number in (1, 2**64 - 1, 2**63, 1):
        forged = {"type": MAIL, "mail": LETTER, "from": "x", "number": number}
        await shared.send(node.layer.channel, forged)
    await aeventually(lambda: NodeRow.objects.filter(mail_dropped=2, mail_lost=0).aexists())
    beat = (await NodeRow.objects.aget()).beat
    await aeventually(lambda: NodeRow.objects.filter(beat__gt=beat + 2).aexists())
    await shared.close_pools()


@pytest.mark.usefixtures("valkey_layer")
async def test_nobody_sends_to_a_node_that_has_stopped_or_was_lost(
    make_node: MakeNode, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"HEARTBEAT_INTERVAL": 0.05, "NODE_TTL": 0.5}
    await NodeRow.objects.acreate(
        id="dead", kind="server", pid=1, started_at=moment(1), renewed_at=moment(1),
        channel="websockets_app.node.dead!x",
    )  # fmt: skip
    shared = get_channel_layer()
    assert isinstance(shared, RedisChannelLayer)
    await shared.group_add(GROUP, "websockets_app.node.dead!x")
    stopping, staying = make_node(), make_node()
    for node in (stopping, staying):
        await node.start()
    await aeventually(lambda: stopping.layer.channel and staying.layer.channel)
    await stopping.stop()

    async def members() -> list[bytes]:
        found: list[bytes] = await shared.connection(0).zrange(shared._group_key(GROUP), 0, -1)
        return found

    async def only_one_is_left() -> bool:
        return await members() == [staying.layer.channel.encode()]

    await aeventually(only_one_is_left)
    await shared.close_pools()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (None, "CHANNEL_LAYERS has no 'default': changes are noticed by polling, and sessions of"),
        (IN_MEMORY, "(InMemoryChannelLayer) reaches this process only"),
    ],
)
async def test_a_node_says_once_whom_its_layer_reaches(
    listen: Listen, settings: Settings, caplog: pytest.LogCaptureFixture, layer: Any, words: str
) -> None:
    caplog.set_level(logging.INFO, "websockets_app")
    settings.CHANNEL_LAYERS = {"default": layer} if layer else {}
    await listen()
    assert caplog.text.count(words) == 1


@pytest.mark.usefixtures("valkey_layer")
async def test_a_node_says_that_its_layer_answers_or_that_it_does_not(
    listen: Listen, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "websockets_app")
    await listen()
    await aeventually(lambda: "(RedisChannelLayer) answers: other processes" in caplog.text)
    use_layer(settings, f"redis://127.0.0.1:{free_port()}")
    await listen()
    await aeventually(
        lambda: "fails: CHANNEL_LAYERS['default'] (RedisChannelLayer): Error" in caplog.text
    )


@pytest.mark.parametrize(("backend", "dropped"), [(CORE, 3), (PUBSUB, 0)])
async def test_what_waits_for_a_lost_node_is_dropped_and_counted_if_the_layer_keeps_it(
    settings: Settings, valkey_url: str, backend: str, dropped: int
) -> None:
    use_layer(settings, valkey_url, backend)
    lost, other = NodeLayer("lost"), NodeLayer("other")
    await lost._join()  # it writes to itself, too, and dies before it listens
    for text in ("one", "two", "three"):
        await other.post(lost.channel, mail.sending("peer", text))
    if backend == CORE:
        with redis.Redis.from_url(valkey_url) as client:  # what is no message waits there, too
            key = lost._layer.prefix + lost.channel.partition("!")[0] + "!"  # type: ignore[union-attr]
            client.zadd(key, {b"junk": 0})
    assert await other.forget(lost.channel) == dropped
    assert await other.forget(lost.channel) == 0
    await lost.leave()
    await other.leave()
