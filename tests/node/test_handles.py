"""A handle names a peer: it pickles, finds the live peer from any thread, and outlives it."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from tests.infrastructure.waiting import aeventually
from tests.node.conftest import MakeNode
from tests.node.fakes import Handle, KeepingPeer
from websockets_app.core.states import CloseCause, NodeKind, SendAnswer
from websockets_app.dispatch.frames import Frame
from websockets_app.exceptions import NodeUnreachable
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.node import broadcast as broadcasts
from websockets_app.node import handles
from websockets_app.node.broadcast import abroadcast, broadcast
from websockets_app.node.node import Node


@pytest.fixture
async def node(make_node: MakeNode) -> Node:
    made = make_node()
    await made.start()
    return made


@pytest.fixture
async def tom(node: Node) -> AsyncIterator[KeepingPeer]:
    peer = KeepingPeer("tom")
    node.peers.add(peer)
    yield peer
    node.peers.discard(peer)


in_thread: Callable[..., Any] = asyncio.to_thread


def test_a_handle_pickles_to_its_id() -> None:
    handle = WebsocketSession("0123")
    copy = pickle.loads(pickle.dumps(handle))  # noqa: S301 - our own
    assert type(copy) is WebsocketSession
    assert (copy.id, copy.get_id(), copy.direction) == ("0123", "0123", "in")
    assert copy == handle
    assert len({copy, handle}) == 1


def test_handles_are_equal_by_kind_and_id() -> None:
    assert WebsocketSession("a") != WebsocketSession("b")
    assert WebsocketSession("a") != Handle("a")
    assert WebsocketSession("a") != "a"
    assert repr(WebsocketSession("a")) == "<WebsocketSession a>"


async def test_a_handle_of_nobody_answers_gone(node: Node) -> None:
    nobody = Handle("nobody")
    assert nobody.closed
    assert nobody.params == {}
    assert nobody.user is None
    assert await nobody.asend_text("x") == SendAnswer.GONE
    assert await nobody.aclose() == SendAnswer.GONE
    assert await in_thread(nobody.send_text, "x") == SendAnswer.GONE
    assert await in_thread(nobody.close) == SendAnswer.GONE
    nobody.send_text_async("x")
    nobody.join("room")
    nobody.leave("room")


async def test_a_handle_knows_its_peer(tom: KeepingPeer) -> None:
    assert not tom.handle.closed
    assert tom.handle.params == {"room": "kitchen"}
    assert tom.handle.user == "tom"
    assert await tom.handle.aclosed() is False
    assert await tom.handle.aparams() == {"room": "kitchen"}
    assert await tom.handle.auser() == "tom"
    tom.closed = True
    assert tom.handle.closed
    assert await tom.handle.aclosed() is True


async def test_a_cause_that_is_none_is_refused_before_anything_is_closed(
    tom: KeepingPeer,
) -> None:
    with pytest.raises(ValueError, match="because"):
        await tom.handle.aclose(cause="because")
    with pytest.raises(ValueError, match="because"):
        await in_thread(partial(tom.handle.close, cause="because"))
    assert not tom.closed


async def test_every_asynchronous_form_reaches_the_peer(tom: KeepingPeer) -> None:
    handle = tom.handle
    assert await handle.asend_text("text") == SendAnswer.WRITTEN
    assert await handle.asend_bytes(b"binary") == SendAnswer.WRITTEN
    assert await handle.asend_json({"a": 1}) == SendAnswer.WRITTEN
    assert tom.sent == ["text", b"binary", '{"a":1}']
    assert await handle.aclose(4000, "bye") == SendAnswer.WRITTEN
    assert tom.closed_with == (4000, "bye", CloseCause.HANDLER)
    assert await handle.asend_text("late") == SendAnswer.GONE


async def test_every_plain_form_reaches_the_peer_from_another_thread(tom: KeepingPeer) -> None:
    handle = tom.handle

    def talk() -> list[SendAnswer]:
        return [
            handle.send_text("text"),
            handle.send_bytes(b"binary"),
            handle.send_json([1]),
            handle.close(4000, "bye", cause=CloseCause.ADMIN),
            handle.send_text("late"),
        ]

    written, gone = SendAnswer.WRITTEN, SendAnswer.GONE
    assert await in_thread(talk) == [written, written, written, written, gone]
    assert tom.sent == ["text", b"binary", "[1]"]
    assert tom.closed_with == (4000, "bye", CloseCause.ADMIN)


@pytest.mark.parametrize(
    ("call", "other"),
    [
        (lambda handle: handle.send_text("x"), "asend_text"),
        (lambda handle: handle.send_bytes(b"x"), "asend_bytes"),
        (lambda handle: handle.send_json({}), "asend_json"),
        (lambda handle: handle.close(), "aclose"),
        (lambda handle: broadcast("room", "x"), "abroadcast"),
    ],
)
async def test_a_plain_form_in_an_event_loop_names_the_other_one(
    tom: KeepingPeer, call: Callable[[Any], Any], other: str
) -> None:
    with pytest.raises(SynchronousOnlyOperation, match=rf"await {other}\(\)"):
        call(tom.handle)
    assert not tom.sent


async def test_send_text_async_works_anywhere_and_keeps_its_order(tom: KeepingPeer) -> None:
    def from_a_thread() -> None:
        for number in range(5):
            tom.handle.send_text_async(f"thread {number}")

    for number in range(5):
        tom.handle.send_text_async(f"loop {number}")
    await in_thread(from_a_thread)
    await sync_to_async(tom.handle.send_text_async)("django")
    await aeventually(lambda: len(tom.sent) == 11)
    expected = [f"loop {n}" for n in range(5)] + [f"thread {n}" for n in range(5)] + ["django"]
    assert tom.sent == expected


async def test_a_peer_of_another_loop_is_reached_from_this_one(tom: KeepingPeer) -> None:
    def elsewhere() -> list[Any]:
        async def talk() -> list[Any]:
            answers: list[Any] = [await tom.handle.asend_text("from elsewhere")]
            tom.handle.join("room")
            answers.append(await abroadcast("room", "to all"))
            return answers

        return asyncio.run(talk())

    assert await in_thread(elsewhere) == [SendAnswer.WRITTEN, 1]
    assert tom.sent == ["from elsewhere", "to all"]


async def test_groups_are_joined_and_left_by_handle(node: Node, tom: KeepingPeer) -> None:
    jerry = KeepingPeer("jerry")
    node.peers.add(jerry)
    for peer in (tom, jerry):
        peer.handle.join("room")
    assert await abroadcast("room", {"a": 1}) == 2
    await in_thread(tom.handle.leave, "room")
    assert await in_thread(broadcast, "room", b"binary") == 1
    assert tom.sent == ['{"a":1}']
    assert jerry.sent == ['{"a":1}', b"binary"]


async def test_a_broadcast_reaches_all_nodes_of_the_process(
    node: Node, tom: KeepingPeer, make_node: MakeNode
) -> None:
    second = make_node()
    await second.start()
    jerry = KeepingPeer("jerry")
    second.peers.add(jerry)
    for peer in (tom, jerry):
        peer.handle.join("room")
    assert await abroadcast("room", "hello") == 2


async def test_a_send_from_many_threads_at_once_loses_nothing(tom: KeepingPeer) -> None:
    begin = threading.Barrier(4)

    def talk(name: int) -> None:
        begin.wait(10)
        for number in range(20):
            assert tom.handle.send_text(f"{name}/{number}") == SendAnswer.WRITTEN

    async with asyncio.TaskGroup() as group:
        for name in range(4):
            group.create_task(in_thread(talk, name))
    assert len(tom.sent) == 80
    for name in range(4):
        mine = [text for text in tom.sent if str(text).startswith(f"{name}/")]
        assert mine == [f"{name}/{number}" for number in range(20)]


@pytest.fixture
def stopped_loop(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of a node that holds "tom" and doesn't answer."""
    for module in (handles, broadcasts):
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)

    async def begin() -> Node:
        node = Node(NodeKind.SERVER)
        node.register()
        tom = KeepingPeer("tom")
        node.peers.add(tom)
        node.peers.join(tom, "all")
        return node

    loop = asyncio.new_event_loop()
    node = loop.run_until_complete(begin())
    yield loop
    for _ in range(5):  # what was given up ends
        loop.run_until_complete(asyncio.sleep(0))
    node.close()
    loop.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda: Handle("tom").send_text("x"),
        lambda: Handle("tom").close(),
        lambda: broadcast("all", "x"),
        lambda: asyncio.run(Handle("tom").asend_text("x")),
        lambda: asyncio.run(Handle("tom").aclose()),
        lambda: asyncio.run(abroadcast("all", "x")),
    ],
    ids=["send", "close", "broadcast", "asend", "aclose", "abroadcast"],
)
def test_nobody_waits_forever_for_an_event_loop_that_does_not_answer(
    stopped_loop: asyncio.AbstractEventLoop, use: Callable[[], object]
) -> None:
    with pytest.raises(NodeUnreachable, match=r"did not answer within 0\.05 s"):
        use()


async def test_what_a_peer_raises_is_no_late_answer(
    node: Node, tom: KeepingPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(frame: Frame) -> SendAnswer:
        raise TimeoutError("the peer's own")

    monkeypatch.setattr(tom, "asend", fail)
    with pytest.raises(TimeoutError, match="the peer's own"):
        await in_thread(tom.handle.send_text, "x")
