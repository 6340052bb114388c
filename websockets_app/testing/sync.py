"""`Conversation`: an `AsyncConversation` for tests without an event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import ExitStack
from types import ModuleType, TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from ..core.peer import Peer
from ..dispatch.frames import Frame
from .arrivals import Closed
from .conversation import AsyncConversation, ConversationOptions
from .loop_thread import LoopThread, loop_thread

T = TypeVar("T")


class Conversation:
    """A handler and its peer, which the test plays; without a server, a row or a database.

    `AsyncConversation` tells all, and has the same methods as coroutines. Plain callbacks run in
    the test's own thread, and so does the ORM below async ones: within the test's transaction.
    """

    def __init__(self, handler: str | ModuleType, **options: Unpack[ConversationOptions]) -> None:
        self._conversation = AsyncConversation(handler, **options)
        self._held = ExitStack()
        self._loop: LoopThread | None = None

    def __enter__(self) -> Self:
        try:
            self._call(self._conversation.__aenter__())
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            self._call(self._conversation.__aexit__(kind, error, trace))

    @property
    def session(self) -> Peer:
        """The handle that the callbacks get, to be used as by other code of the site."""
        return self._conversation.session

    @property
    def received(self) -> list[Frame]:
        """Every message that the handler has sent so far, in order."""
        return self._conversation.received

    @property
    def closed(self) -> Closed | None:
        """How it ended; None where it hasn't."""
        return self._conversation.closed

    @property
    def refused_with(self) -> int | None:
        """The close code with which `may_open` refused."""
        return self._conversation.refused_with

    @property
    def errors(self) -> list[BaseException]:
        """What callbacks raised, in order; `InvalidResult` for what can't be sent."""
        return self._conversation.errors

    def open(self) -> bool:
        """Let the peer come: `may_open` and `on_open` run. False where it is refused."""
        return self._call(self._conversation.open())

    def fail(self, reason: str) -> None:
        """Let a client's attempt to connect fail: `on_error` runs."""
        self._call(self._conversation.fail(reason))

    def send(self, message: str | bytes) -> None:
        """Send a text (`str`) or binary (`bytes`) message: `on_message` runs."""
        self._call(self._conversation.send(message))

    def send_json(self, value: Any) -> None:
        """Send `value` as a text message of JSON."""
        self._call(self._conversation.send_json(value))

    def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Leave: `on_close` runs, unless it has."""
        self._call(self._conversation.disconnect(code, reason))

    def receive(self) -> Frame:
        """Return the next message of `received`, waiting where it is still to come."""
        return self._call(self._conversation.receive())

    def receive_json(self) -> Any:
        """Return what the next message says, which must be JSON."""
        return self._call(self._conversation.receive_json())

    def receive_nothing(self, timeout: float = 0.1) -> Literal[True]:
        """Wait for `timeout` seconds; raise where a message comes, or a close."""
        return self._call(self._conversation.receive_nothing(timeout))

    def wait_closed(self) -> Closed:
        """Wait until the handler, or whoever has its session, has closed; return code and reason.

        `on_close` has run by then.
        """
        return self._call(self._conversation.wait_closed())

    def close(self) -> None:
        """Leave, and let go of everything: what came stays in `received`."""
        with self._held:
            self._call(self._conversation.close())

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            if self._loop is None:
                self._loop = self._held.enter_context(loop_thread())
        except BaseException:
            coroutine.close()
            raise
        return self._loop.call(coroutine)
