"""One session, what may happen to it, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from django.contrib.sessions.models import Session as DjangoSession

from tests.inbound.driver import Connection
from tests.inbound.people import Person
from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import CloseCause
from websockets_app.inbound.consumers import EndpointConsumer
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.inbound.serving import get_serving, is_serving, stop_serving
from websockets_app.inbound.session import InboundSession
from websockets_app.models import Endpoint, Event, Session

INBOX = 5
TOO_BIG = 100

_HANDLER = """
import asyncio

diary, flags, permits = [], set(), None

def flags_of(name):
    return " ".join(flag for flag in flags if name in flag)

{form} live(name, wants):
    diary.append(("begin", name))
    try:
        {turn}
        if "wait" in wants:
            {await_}permits.acquire({timeout})
        if "raise" in wants:
            raise LookupError(wants)
    except asyncio.CancelledError:
        diary.append(("cancelled", name))
        raise
    finally:
        diary.append(("end", name))

{form} may_open():
    if "may_open waits" in flags:
        {await_}permits.acquire({timeout})
    return True

{form} on_open():
    {await_}live("open", flags_of("on_open"))

{form} on_message(message, session):
    {await_}live(message, message)
    if "close" in message:
        {await_}session.{a}close(4321, "enough")
    return message if "answer" in message else None

{form} on_error(error):
    {await_}live("error", flags_of("on_error"))

{form} on_close(code):
    {await_}live(f"close {{code}}", flags_of("on_close"))
"""
_ASYNC = {
    "form": "async def", "await_": "await ", "a": "a", "timeout": "",
    "turn": "await asyncio.sleep(0)",
}  # fmt: skip
_PLAIN = {
    "form": "def", "await_": "", "a": "", "timeout": "timeout=20", "turn": "pass",
}  # fmt: skip
SOURCES = {"async": _HANDLER.format(**_ASYNC), "plain": _HANDLER.format(**_PLAIN)}
FLAGS = [
    "may_open waits", "on_open waits", "on_open raises", "on_error raises", "on_close waits",
    "on_close raises",
]  # fmt: skip


class BreakableConnection(Connection):
    """A connection whose peer may stop to read, and whose server may fail."""

    def __init__(self, path: str, person: Person | None) -> None:
        headers = person.headers if person else []
        super().__init__(path, headers=headers, application=self._serve)
        self.reads = asyncio.Event()
        self.reads.set()
        self.fails = False
        self.send_to_peer = self._send

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        async def receive_or_fail() -> Any:
            if not self.fails:
                event = await receive()
            if self.fails:
                raise RuntimeError("the server is out of order")
            return event

        await EndpointConsumer()(scope, receive_or_fail, send)

    async def _send(self, event: dict[str, Any]) -> None:
        await self.reads.wait()
        await self.sent.put(event)


@dataclass(frozen=True)
class Plan:
    """What happens to one session: each step, and how often the loop turns after it."""

    form: str
    flags: frozenset[str]
    on_change: str
    on_handler_error: str
    record_messages: str
    steps: list[tuple[str, int]]

    @property
    def knows_user(self) -> bool:
        """Whether the peer comes as somebody, who can log out."""
        return any(step == "user_logs_out" for step, _ in self.steps)


class Life:
    """One session, what was done to it, and what it left behind."""

    def __init__(self, plan: Plan, path: str, handler: ModuleType, person: Person | None) -> None:
        self.plan = plan
        self.handler = handler
        self.person = person
        self.connection = BreakableConnection(path, person)
        self.told: list[str] = []
        """The messages that the peer has sent before it left."""
        self.causes = {CloseCause.PEER}
        if plan.on_handler_error == "close":
            self.causes.add(CloseCause.HANDLER_ERROR)
        """Why the session may have ended."""
        self.has_left = self.was_given_up = False
        self._rows = Endpoint.objects.filter(endpoint=path)
        self._tasks: list[asyncio.Task[Any]] = []
        self._timeouts = itertools.count(1000)

    async def begin(self) -> None:
        self.serving = await get_serving()
        await self.serving.node.look()
        self.handler.diary.clear()
        self.handler.flags.clear()
        self.handler.flags.update(self.plan.flags)
        semaphore = asyncio.Semaphore if self.plan.form == "async" else threading.Semaphore
        self.handler.permits = semaphore(0)
        self.connection.begin()
        await asyncio.sleep(0)  # what was never begun could not be cancelled either

    @property
    def session(self) -> InboundSession | None:
        """The session, while it is open."""
        return next((p for p in self.serving.node.peers if isinstance(p, InboundSession)), None)

    async def take(self, step: str) -> None:
        if step in MESSAGES:
            self.say(step)
        else:
            await STEPS[step](self)

    def say(self, wants: str) -> None:
        if not self.has_left:
            self.told.append(f"{len(self.told)} {wants}")
            self.connection.send(self.told[-1])
        if "close" in wants:
            self.causes.add(CloseCause.HANDLER)

    async def message_is_too_big(self) -> None:
        self.say("x" * TOO_BIG)
        self.causes.add(CloseCause.TOO_BIG)

    async def messages_flood(self) -> None:
        for _ in range(INBOX + 3):
            self.say("")
        self.causes.add(CloseCause.SLOW)

    async def handler_goes_on(self) -> None:
        self.handler.permits.release()

    async def node_sweeps(self) -> None:
        for _ in range(2):
            self.serving.node.peers.sweep()
            await asyncio.sleep(0)

    async def site_sends(self) -> None:
        if self.session:
            self.session.handle.send_text_async("queued")
            self._do(WebsocketSession(self.session.id, here=True).asend_text("sent"))

    async def peer_stops_reading(self) -> None:
        self.connection.reads.clear()

    async def peer_reads_on(self) -> None:
        self.connection.reads.set()

    async def peer_leaves(self) -> None:
        self.connection.leave(1001, "off")
        self.has_left = True

    async def server_gives_up(self) -> None:
        assert self.connection.task is not None
        self.connection.task.cancel()
        self.was_given_up = True
        self.was_given_up = True
        self.causes.add(CloseCause.SHUTDOWN)

    async def server_fails(self) -> None:
        self.connection.fails = True
        self.causes.add(CloseCause.TRANSPORT)

    async def operator_closes(self) -> None:
        if self.session:
            self._do(self.session.handle.aclose(1000, "go", cause=CloseCause.ADMIN))
            self.causes.add(CloseCause.ADMIN)

    async def row_changes(self) -> None:
        await self._rows.aupdate(idle_timeout=next(self._timeouts))
        if self.plan.on_change == "close":
            self.causes.add(CloseCause.CONFIG)

    async def row_is_disabled(self) -> None:
        await self._rows.aupdate(enabled=False)
        self.causes.add(CloseCause.CONFIG)

    async def row_is_deleted(self) -> None:
        await self._rows.adelete()
        self.causes.add(CloseCause.CONFIG)

    async def user_logs_out(self) -> None:
        assert self.person
        await DjangoSession.objects.filter(pk=self.person.key).adelete()
        self._do(self.serving.revocation.poll())
        self.causes.add(CloseCause.REVOKED)

    async def process_ends(self) -> None:
        if is_serving():
            self._do(stop_serving())
        self.causes.add(CloseCause.SHUTDOWN)

    def _do(self, work: Awaitable[Any]) -> None:
        """Let something happen beside the other steps."""
        self._tasks.append(asyncio.ensure_future(work))

    async def end(self) -> None:
        """Let the peer leave, and handlers end, until nothing runs any more."""
        if not self.has_left:
            await self.peer_leaves()
        self.connection.reads.set()
        for _ in range(len(self.plan.steps) * (INBOX + 3) + len(FLAGS) * 20):
            self.handler.permits.release()
        node = self.serving.node
        await aeventually(lambda: not any(map(_is_life, node._owned)), every=0.001)
        assert self.connection.task is not None
        await asyncio.wait([self.connection.task], timeout=5)
        assert self.connection.task.done()
        await asyncio.gather(*self._tasks)
        await aeventually(lambda: not node._owned, every=0.001)
        if not node.draining:
            assert await node.recorder.flush()
        await self._rows.adelete()

    # What must hold

    def check_callbacks(self, row: Session | None) -> None:
        """One at a time and to its end, open first, close last, each error after what raised."""
        begun = [name for what, name in self.handler.diary if what == "begin"]
        assert self.handler.diary == [
            entry for name in begun for entry in (("begin", name), ("end", name))
        ]
        if row is None:
            assert begun == []
            return
        assert row.close_code is not None
        closed, raises = f"close {row.close_code}", self.plan.flags.__contains__
        handled = [name for name in begun if name[0].isdigit()]
        assert begun == [
            *("open", *["error"] * raises("on_open raises")),
            *(said for name in handled for said in (name, *["error"] * ("raise" in name))),
            *(closed, *["error"] * raises("on_close raises")),
        ]
        assert handled == self.told[: len(handled)]
        if row.close_cause == CloseCause.PEER:
            assert handled == self.told  # what it sent before it left

    def check_wire(self, row: Session | None) -> None:
        """Nothing before the handshake's answer, and nothing after the close."""
        kinds = [
            self.connection.sent.get_nowait()["type"] for _ in range(self.connection.sent.qsize())
        ]
        assert kinds.count("websocket.close") <= 1
        assert "websocket.close" not in kinds[:-1]
        answer = "websocket.accept" if row else "websocket.close"
        # A server that fails, or gives up before the session is accepted, may be told either.
        if row or not (self.was_given_up or CloseCause.TRANSPORT in self.causes):
            assert kinds[:1] in ([], [answer])

    def check_row(self, row: Session) -> None:
        assert row.closed_at is not None
        assert row.close_cause in self.causes
        taken = len(
            [name for what, name in self.handler.diary if what == "end" and name[0].isdigit()]
        )
        assert taken <= row.messages_in <= len(self.told)

    def check_events(self, row: Session, events: list[Event]) -> None:
        """One open, which is the first, and one close; no number is missing."""
        kinds = [event.kind for event in events]
        assert kinds[0] == "open"
        assert kinds.count("open") == kinds.count("close") == 1
        close = events[kinds.index("close")]
        assert (close.code, close.cause) == (row.close_code, row.close_cause)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        errors = [name for what, name in self.handler.diary if (what, name) == ("end", "error")]
        factor = 2 if "on_error raises" in self.plan.flags else 1
        assert kinds.count("error") == len(errors) * factor

    def check_application(self, row: Session | None) -> None:
        """What Channels runs ends without a word, unless the server made it end."""
        task = self.connection.task
        assert task is not None
        if task.cancelled():
            assert self.was_given_up
        elif row is not None or not self.connection.fails:
            assert task.exception() is None

    async def check(self) -> None:
        path = self.connection.scope["path"]
        row = await Session.objects.filter(path=path).afirst()
        self.check_application(row)
        self.check_callbacks(row)
        self.check_wire(row)
        assert len(self.serving.node.peers) == 0
        assert self.serving.node.peers.queued.total == 0
        assert not self.serving.limits.seats._taken
        if row is not None:
            self.check_row(row)
            events = Event.objects.filter(peer=row.pk).order_by("seq")
            self.check_events(row, [event async for event in events])


def _is_life(task: asyncio.Task[Any]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "") == "InboundSession.run"


MESSAGES = ["", "answer", "wait", "raise", "wait raise", "close", "wait answer"]
STEPS: dict[str, Callable[[Life], Awaitable[None]]] = {
    step.__name__: step
    for step in (
        Life.message_is_too_big, Life.messages_flood, Life.handler_goes_on, Life.node_sweeps,
        Life.site_sends, Life.peer_stops_reading, Life.peer_reads_on, Life.peer_leaves,
        Life.server_gives_up, Life.server_fails, Life.operator_closes, Life.row_changes,
        Life.row_is_disabled, Life.row_is_deleted, Life.user_logs_out, Life.process_ends,
    )
}  # fmt: skip
