"""The node: what one process and event loop holds, with the tasks that keep it going."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

from ..conf import app_settings
from ..core.states import EventKind, NodeKind, Topic
from ..database import DatabaseThread, drop_broken_connections
from ..dispatch.callback_threads import CallbackThreads
from ..dispatch.pool import SyncPool
from ..exceptions import NodeUnreachable
from ..forking import in_forked_child
from ..models import Node as NodeRow
from ..recording.recorder import Recorder
from ..redaction import get_logger
from . import callback_watch, mail
from .callback_watch import CallbackWatch
from .forwarding import Forwarding
from .layer import NodeLayer
from .lease import Lease
from .looper import repeat
from .peers import LivePeer, Peers
from .watcher import Watcher

logger = get_logger(__name__)

T = TypeVar("T")

LOOKUP_THREADS: Final = 4
SWEEP_SECONDS: Final = 0.05
HOUSEKEEPING_SECONDS: Final = 1.0
DATABASE_SECONDS: Final = 5.0


class Node:
    """Holds sessions or clients. Made inside its event loop; nothing runs until `start`."""

    def __init__(self, kind: NodeKind) -> None:
        self.id = uuid.uuid4().hex
        self.loop = asyncio.get_running_loop()
        self.peers = Peers(app_settings.MAX_QUEUED_BYTES, app_settings.GROUPS_PER_SESSION)
        self.pool = SyncPool(self.loop, app_settings.SYNC_THREADS)
        self.callback_threads: CallbackThreads | None = None
        if app_settings.RECORDING != "inline":  # then they use the thread of the test
            self.callback_threads = CallbackThreads(app_settings.SYNC_TO_ASYNC_THREADS)
        # Who a peer is can be found out while every thread for handlers is taken.
        # Connections last from one to the next: a new one takes longer than all that is asked.
        self.lookups = SyncPool(self.loop, LOOKUP_THREADS, drop_broken_connections)
        self.control = DatabaseThread("control")
        # Loading a row's handler runs its module, for as long as that takes: the lease can't wait.
        self.descriptors = DatabaseThread("descriptors")
        # Nor can the poll wait for a handler that is loaded again and again.
        self.handlers = DatabaseThread("handlers")
        self.recorder = Recorder(self.id)
        self.callbacks = CallbackWatch(self.peers, self.pool, self.recorder)
        self.lease = Lease(self.id, kind, self.control)
        self.layer = NodeLayer(self.id, on_nudge=self.hurry, on_mail=self._deliver)
        self.lease.on_lost.append(lambda channel: self.own(self._forget(channel)))
        self.forwarding = Forwarding(self.own)
        self.draining = False
        self.on_drained: list[Callable[[], Coroutine[Any, Any, object]]] = []
        """Awaited when what the node owned has ended and its loops still run."""
        self._hurries: dict[Topic, list[asyncio.Event]] = {topic: [] for topic in Topic}
        self._watchers: list[Watcher[Any, Any]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._owned: set[asyncio.Task[Any]] = set()

    def watch(self, watcher: Watcher[Any, Any]) -> None:
        """Poll `watcher` for as long as the node runs. Called before `start`."""
        self._watchers.append(watcher)

    def register(self) -> None:
        """Let handles and broadcasts of this process find the node's peers."""
        global _nodes  # noqa: PLW0603 - replaced whole under the lock, so that readers need none
        with _nodes_lock:
            _nodes = (*(other for other in _nodes if not other.loop.is_closed()), self)

    async def start(self) -> None:
        """Take part: register, look at the descriptors once, begin all loops."""
        self.register()
        self.recorder.add_own(EventKind.NODE_STARTED, detail=self.lease.kind)
        self.begin(self.layer.listen())
        await self._try("register", self._beat)
        await self.look()
        self.begin(self.recorder.run())
        self.begin(repeat(self._beat, app_settings.HEARTBEAT_INTERVAL, hurry=self.layer.news))
        # Beside the lease, which must not wait for a layer that doesn't answer.
        self.begin(repeat(self.layer.keep, self.layer.keep_seconds))
        self.begin(repeat(self._sweep, SWEEP_SECONDS))
        self.begin(repeat(self._keep_house, HOUSEKEEPING_SECONDS))
        self.begin(repeat(self.callbacks.look, callback_watch.LOOK_SECONDS))
        for watcher in self._watchers:
            hurry = self.hurried(Topic.DESCRIPTORS)
            self.begin(repeat(watcher.poll, app_settings.POLL_INTERVAL, hurry=hurry))

    async def look(self) -> None:
        """Look at the descriptors now, whenever the next poll is."""
        for watcher in self._watchers:
            await self._try("read the descriptors", watcher.poll)

    async def stop(self) -> None:
        """Take part no more: end the loops, write what waits, give the lease back."""
        self.draining = True
        await self._finish_owned()
        for last in self.on_drained:
            await self._try("say its last words", last)
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.layer.leave()
        self.recorder.tell_repeats()
        self.recorder.add_own(EventKind.NODE_STOPPED)
        if await self._try("write what waits", self.recorder.flush):
            await self._try("give the lease back", self.lease.give_back)
        # Otherwise the lease is left to be reaped: rows may still say that sessions are open.
        self.close()

    def close(self) -> None:
        """Let the threads go, without waiting."""
        _unregister(self)
        self.pool.stop()
        if self.callback_threads is not None:
            self.callback_threads.stop()
        self.lookups.stop()
        self.recorder.stop()
        self.control.stop()
        self.descriptors.stop()
        self.handlers.stop()

    def own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in a task that is kept until it ends; what it raises is logged."""
        task = self.loop.create_task(work)
        self._owned.add(task)
        task.add_done_callback(self._disown)
        return task

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a loop for as long as the node runs."""
        self._loops.append(self.loop.create_task(work))

    def run_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Run `function` in the node's loop: at once if this is it, soon from another thread."""
        if self.loop is _running_loop():
            function(*args)
        else:
            self.loop.call_soon_threadsafe(function, *args)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` in the node's loop; called in other threads, which then `wait_for` it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def await_for(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work` in the node's loop and await it, from whatever event loop.

        From another loop it raises `NodeUnreachable`, as `wait_for` does.
        """
        if self.loop is asyncio.get_running_loop():
            return await work
        under_way = self.submit(work)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(under_way)
        except TimeoutError:
            raise _too_late(under_way, seconds) from None

    def hurried(self, topic: Topic) -> asyncio.Event:
        """Return an event that is set whenever somebody has something new about `topic`."""
        event = asyncio.Event()
        self._hurries[topic].append(event)
        return event

    def hurry(self, topic: Topic) -> None:
        """Let those look now who follow `topic` here."""
        for event in self._hurries[topic]:
            event.set()

    def nudge(self, topic: Topic) -> None:
        """Let those look now who follow `topic` on any other node."""
        self.own(self.layer.nudge(topic))

    async def _beat(self) -> None:
        """Renew the lease, and write how the node is reached, what it missed and what hangs."""
        self.lease.told = self.layer.told() | self.callbacks.row_columns()
        await self.lease.beat()

    async def _forget(self, channel: str) -> None:
        """Drop what waits for a lost node in the layer, and record how much that was."""
        if lost := await self.layer.forget(channel):
            logger.warning("%d messages waited for a lost node and are dropped", lost)
            why = "messages that were forwarded to a node, which was lost before it took them"
            self.recorder.add_own(EventKind.GAP, lost=lost, detail=why)
            await self.control.run(NodeRow.objects.add_lost_mail, channel, lost)

    def _deliver(self, letter: object) -> bool:
        return mail.deliver(letter, self.peers, self.own)

    async def _sweep(self) -> None:
        self.peers.sweep()

    async def _keep_house(self) -> None:
        """Close old connections of Django's own thread, which async middlewares use."""
        if len(self.peers):
            await sync_to_async(close_old_connections)()

    async def _try(self, what: str, work: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """Do what the node can live without: the database may be away, and is asked again."""
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                return await work()
        except Exception:
            logger.exception("Node %s could not %s", self.id, what)
            return None

    async def _finish_owned(self) -> None:
        """Wait for what the node owns, then cancel it: handlers have had their time."""
        deadline = time.monotonic() + app_settings.SHUTDOWN_TIMEOUT
        mine = asyncio.current_task()
        while tasks := [task for task in self._owned if task is not mine]:
            left = deadline - time.monotonic()
            if left <= 0:
                logger.warning("%d handlers did not end in time and are cancelled", len(tasks))
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1.0)
                return
            await asyncio.wait(tasks, timeout=left)

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._owned.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A task of node %s failed", self.id, exc_info=error)


def wait_for(under_way: Future[T], seconds: float) -> T:
    """Wait for work of a node's loop, in a thread without an event loop.

    Raises `NodeUnreachable` if that takes longer, and cancels the work if it hasn't ended.
    """
    try:
        return under_way.result(seconds)
    except TimeoutError:
        raise _too_late(under_way, seconds) from None


def _too_late(under_way: Future[Any], seconds: float) -> BaseException:
    """Return what to raise after waiting in vain; what `under_way` raised itself, if it did."""
    if under_way.done() and not under_way.cancelled() and (error := under_way.exception()):
        return error
    under_way.cancel()
    return NodeUnreachable(
        f"The event loop of this process did not answer within {seconds:g} s: a handler blocks "
        "it, or it has stopped. Whether the message was sent is not known."
    )


_nodes: tuple[Node, ...] = ()
_nodes_lock = threading.Lock()
_of_parent: list[object] = []
"""What a forked child keeps alive, because to free it could close what the parent still uses."""


@in_forked_child
def _forget_nodes() -> None:
    """Let a forked child be a process without a node, with database connections of its own."""
    global _nodes, _nodes_lock  # a thread of the parent may have held the lock
    if _nodes:
        for connection in connections.all(initialized_only=True):
            _of_parent.append(connection)
            del connections[connection.alias]
        _of_parent.append(_nodes)
    _nodes, _nodes_lock = (), threading.Lock()


def nodes() -> tuple[Node, ...]:
    """Return the nodes of this process whose loops still run."""
    return tuple(node for node in _nodes if not node.loop.is_closed())


def find_peer(peer_id: str) -> tuple[Node, LivePeer] | None:
    """Return the peer and the node of this process that holds it."""
    for node in nodes():
        peer = node.peers.get(peer_id)
        if peer is not None:
            return node, peer
    return None


def _unregister(node: Node) -> None:
    global _nodes  # noqa: PLW0603 - see Node.register
    with _nodes_lock:
        _nodes = tuple(other for other in _nodes if other is not node)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
