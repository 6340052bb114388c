"""`AsyncConversation`: the callbacks of a handler, with a test as the peer, and nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from types import ModuleType, TracebackType
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from django.contrib.auth.models import AnonymousUser

from ..core.close_codes import CloseCode, may_be_sent
from ..core.peer import Peer
from ..core.states import Direction, NodeKind, OnHandlerError
from ..dispatch import loader
from ..dispatch.engines import FUNCTIONS
from ..dispatch.frames import Frame, as_json
from ..dispatch.loader import Callback, Handler
from ..dispatch.services import load_services, resolve_services
from ..exceptions import HandlerInvalid, MayOpenFailed
from .arrivals import Arrivals, Closed
from .peer import RehearsedPeer, Stage, TellingDispatcher

T = TypeVar("T")


class ConversationOptions(TypedDict, total=False):
    """What a conversation may be told besides its handler."""

    engine: str
    """What loads a handler that is given by its reference; "python"."""
    services: Sequence[str]
    """The modules that the endpoint's row would offer, if the handler is that of 2.x services."""
    direction: Direction | Literal["in", "out"]
    """Whether the handler serves an endpoint, "in" (the default), or a client, "out"."""
    params: Mapping[str, Any]
    """What the endpoint's pattern would have captured from the path."""
    user: Any
    """Who opens the session; an anonymous user by default, and None for a client."""
    on_handler_error: OnHandlerError | Literal["continue", "close"]
    """As in a row: what a raising callback means; "continue"."""
    raise_errors: bool
    """Whether what a callback raises is raised in the test, too; True."""
    timeout: float
    """How many seconds a callback may run, and a test waits; 5."""


class AsyncConversation:
    """A handler and its peer, which the test plays; without a server, a row or a database.

    `handler` is a reference in any of its spellings, or a module. Each method returns when the
    callbacks that it causes have run, and raises what they raised (unless `raise_errors` is
    false) once `on_error` has been called, as always. What they sent is in `received`.

    `async with` opens, and leaves in the end. Conversations of one process can meet in groups.
    """

    def __init__(self, handler: str | ModuleType, **options: Unpack[ConversationOptions]) -> None:
        self.refused_with: int | None = None
        """The close code with which `may_open` refused."""
        self.timeout = options.get("timeout", 5.0)
        self._handler = replace(
            _loaded(handler, options.get("engine", "python")),
            services=_offered(options.get("services", ())),
        )
        self._options = options
        self._direction = Direction(options.get("direction", Direction.IN))
        self._arrivals = Arrivals()
        self._errors: list[BaseException] = []
        self._raised = 0
        # Callbacks share the variables that they set, as in a session's one task.
        self._context = contextvars.Context()
        self._turn = asyncio.Lock()
        self._stage: Stage | None = None
        self._parting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            if not await self.open():
                raise AssertionError(f"The handler refused: {self.refused_with}.")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except BaseException:
            if error is None:  # else the test's own tells more
                raise

    # What there is to see

    @property
    def session(self) -> Peer:
        """The handle that the callbacks get, to be used as by other code of the site."""
        return self._peer.handle

    @property
    def received(self) -> list[Frame]:
        """Every message that the handler has sent so far, in order."""
        return self._arrivals.messages

    @property
    def closed(self) -> Closed | None:
        """How it ended; None where it hasn't."""
        return self._arrivals.closed

    @property
    def errors(self) -> list[BaseException]:
        """What callbacks raised, in order; `InvalidResult` for what can't be sent."""
        return self._errors

    # What the peer does

    async def open(self) -> bool:
        """Let the peer come: `may_open` and `on_open` run. False where it is refused."""
        self._set_stage()
        if not await self._is_admitted():
            return False
        self._peer.begin()
        await self._run(self._dispatcher.open())
        return True

    async def fail(self, reason: str) -> None:
        """Let a client's attempt to connect fail: `on_error` runs."""
        self._set_stage()
        await self._run(self._dispatcher.error(reason))

    async def send(self, message: str | bytes) -> None:
        """Send a text (`str`) or binary (`bytes`) message: `on_message` runs."""
        if self._stage is None or self.closed:
            raise AssertionError(f"The conversation is not open: {self.closed}.")
        await self._run(self._handle(message))

    async def send_json(self, value: Any) -> None:
        """Send `value` as a text message of JSON."""
        await self.send(as_json(value))

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Leave: `on_close` runs, unless it has."""
        if self._stage is not None and self._stage.peers.get(self._peer.id):
            self._peer.end(code, reason)
        await self._part()

    async def receive(self) -> Frame:
        """Return the next message of `received`, waiting where it is still to come."""
        return await self._arrivals.take(self.timeout)

    async def receive_json(self) -> Any:
        """Return what the next message says, which must be JSON."""
        return json.loads(await self.receive())

    async def receive_nothing(self, timeout: float = 0.1) -> Literal[True]:
        """Wait for `timeout` seconds; raise where a message comes, or a close."""
        await self._arrivals.nothing(timeout)
        return True

    async def wait_closed(self) -> Closed:
        """Wait until the handler, or whoever has its session, has closed; return code and reason.

        `on_close` has run by then.
        """
        closed = await self._arrivals.end_of_it(self.timeout)
        await self._part()
        return closed

    async def close(self) -> None:
        """Leave, and let go of everything."""
        try:
            await self.disconnect()
        finally:
            if self._stage is not None:
                self._stage.close()

    # Steps

    def _set_stage(self) -> None:
        if self._stage is not None:
            raise RuntimeError("A conversation begins once.")
        incoming = self._direction == Direction.IN
        self._stage = Stage(NodeKind.SERVER if incoming else NodeKind.RUNNER)
        self._peer = RehearsedPeer(
            self._stage,
            self._handler,
            self._arrivals,
            direction=self._direction,
            params=self._options.get("params", {}),
            user=self._options.get("user", AnonymousUser() if incoming else None),
            on_handler_error=self._options.get("on_handler_error", OnHandlerError.CONTINUE),
            on_end=self._begin_parting,
        )
        self._dispatcher = TellingDispatcher(self._peer, self._stage, self._errors)

    async def _is_admitted(self) -> bool:
        if self._direction == Direction.OUT:
            return True
        try:
            answer = await self._run(self._dispatcher.may_open())
        except MayOpenFailed:
            answer = CloseCode.INTERNAL_ERROR
            self._raise_errors()
        if answer is True:
            return True
        tells = isinstance(answer, int) and may_be_sent(answer)
        self.refused_with = int(answer) if tells else CloseCode.FORBIDDEN
        return False

    async def _handle(self, message: Frame) -> None:
        if not self.closed:  # while it waited for its turn
            await self._dispatcher.message(message)

    async def _run(self, callback: Coroutine[Any, Any, T]) -> T:
        """Run a callback after those before it, and `on_close` where it ended the connection."""
        result = await self._take_turn(callback)
        await self._part()
        return result

    async def _take_turn(self, callback: Coroutine[Any, Any, T]) -> T:
        async with self._turn:
            task = asyncio.create_task(callback, context=self._context)
            try:
                async with asyncio.timeout(self.timeout):
                    result = await task
            except TimeoutError:
                raise AssertionError(f"A callback still ran after {self.timeout:g} s.") from None
            await self._peer.settle()
            return result

    def _begin_parting(self) -> None:
        assert self._stage is not None
        assert self.closed is not None
        self._parting = self._stage.own(self._take_turn(self._dispatcher.close(*self.closed)))

    async def _part(self) -> None:
        """Wait for `on_close` where it is due; raise what callbacks have raised since."""
        if self._parting is not None:
            await self._parting
        self._raise_errors()

    def _raise_errors(self) -> None:
        new, self._raised = self._errors[self._raised :], len(self._errors)
        if new and self._options.get("raise_errors", True):
            raise new[0]


def _loaded(handler: str | ModuleType, engine: str) -> Handler:
    if isinstance(handler, str):
        return loader.load(engine, loader.resolve(engine, handler))
    defined = {name: getattr(handler, name, None) for name in FUNCTIONS}
    functions = {name: function for name, function in defined.items() if callable(function)}
    return loader.handler_of(handler.__name__, functions)


def _offered(services: Sequence[str]) -> Mapping[tuple[str, str], Callback]:
    offered, problem = load_services(resolve_services(services))
    if problem:
        raise HandlerInvalid(problem)
    return offered
