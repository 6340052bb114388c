"""Run the callbacks of one peer.

Nothing but cancellation escapes from here: what a callback raises becomes an event, a log line
and a call of `on_error`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from types import NoneType
from typing import Any, Final, Protocol

from ..core.call import Call, Called, current_call
from ..core.close_codes import CloseCode
from ..core.states import CloseCause, EventKind, Method, OnHandlerError
from ..exceptions import MayOpenFailed, SessionGone
from ..recording.peer_record import PeerRecord
from ..redaction import get_logger
from .callback_threads import CallbackThreads, ThreadBinding
from .failure import Failure
from .frames import Frame, as_frame
from .loader import Callback, Handler
from .pool import SyncPool

logger = get_logger(__name__)

_ON_MESSAGE: Final = Method.ON_MESSAGE  # Python 3.11 takes its time to look up a member
_call = partial(tuple.__new__, Call)  # half the time of `Call(…)`, for every message
_PLAIN: Final = (str, bytes, NoneType)
"""What callbacks mostly return: asking whether that is awaitable takes long."""


class Target(Called, Protocol):
    """The live peer that callbacks are run for, as its room keeps it."""

    handler: Handler
    record: PeerRecord

    @property
    def on_handler_error(self) -> str: ...

    def answer(self, frame: Frame) -> Awaitable[Any]: ...
    async def aclose(self, code: int, reason: str, cause: CloseCause) -> Any: ...
    def log_extra(self) -> dict[str, Any]: ...


class Dispatcher:
    """Calls one peer's handler, one callback at a time."""

    __slots__ = ("_binding", "_pool", "_target", "_threads")

    def __init__(
        self, target: Target, pool: SyncPool, threads: CallbackThreads | None = None
    ) -> None:
        """Without `threads`, `sync_to_async` uses the thread that asgiref chooses."""
        self._target = target
        self._pool = pool
        self._threads = threads
        self._binding = ThreadBinding()

    async def may_open(self) -> Any:
        """Return what the handler answers, True where it doesn't ask; raise `MayOpenFailed`."""
        target = self._target
        if target.handler.may_open is None:
            return True
        call = Call(Method.MAY_OPEN, target)
        try:
            return await self._run(target.handler.may_open, call)
        except BaseException as error:
            raise_what_ends_the_task(error)
            failure = Failure(target.handler.may_open, call, error)
            self._log(failure)
            raise MayOpenFailed(f"may_open raised {failure.text}") from error

    async def open(self) -> None:
        """Run `on_open`. Called in the task that runs the other callbacks, too."""
        self._bind()
        callback = self._target.handler.on_open
        if callback is not None:
            await self._answer(callback, Call(Method.ON_OPEN, self._target))

    def message(self, message: Frame) -> Awaitable[None]:
        """Handle one message and send what the handler answers. The hot path."""
        target = self._target
        callback = target.handler.on_message
        if callback is None:
            return _nothing()
        call = _call((_ON_MESSAGE, target, message, None, None, None))
        return self._answer(callback, call)

    async def error(self, text: str) -> None:
        target = self._target
        if target.handler.on_error is None:
            return
        call = Call(Method.ON_ERROR, target, None, text)
        try:
            await self._run(target.handler.on_error, call)
        except BaseException as error:
            raise_what_ends_the_task(error)
            if not self._was_ended_by_peer(error):
                self._report(Failure(target.handler.on_error, call, error))

    async def close(self, code: int, reason: str) -> None:
        target = self._target
        if target.handler.on_close is None:
            return
        call = Call(Method.ON_CLOSE, target, None, None, code, reason)
        try:
            await self._run(target.handler.on_close, call)
        except BaseException as error:
            raise_what_ends_the_task(error)
            await self._fail(Failure(target.handler.on_close, call, error))

    async def _answer(self, callback: Callback, call: Call) -> None:
        """Run a callback and send what it returns. The hot path: as few calls as can be."""
        current_call.set(call)
        try:
            if callback.is_async:
                result = await callback.invoke(call)
            else:
                result = await self._in_thread(callback, call)
            if result is not None:
                await self._target.answer(result if isinstance(result, str) else as_frame(result))
        except BaseException as error:
            await self._failed(Failure(callback, call, error))
        finally:
            # Not reset(token): only the message must not stay alive with an idle peer.
            current_call.set(None)
            if self._binding.worker is not None:
                self._bind()

    async def _run(self, callback: Callback, call: Call) -> Any:
        """Run a callback and return what it returns."""
        self._bind()
        current_call.set(call)
        try:
            if callback.is_async:
                return await callback.invoke(call)
            return await self._in_thread(callback, call)
        finally:
            current_call.set(None)
            if self._binding.worker is not None:
                self._bind()

    def _bind(self) -> None:
        """Let what runs next in this task get a thread of its own for `sync_to_async`."""
        if self._threads is not None:
            self._binding = self._threads.bind(self._target.record.subject)

    async def _in_thread(self, callback: Callback, call: Call) -> Any:
        owner = self._target.record.subject
        result = await self._pool.run(callback.invoke, call, owner=owner)
        # A plain decorator around a coroutine function looks like a sync callback.
        if isinstance(result, _PLAIN) or not isinstance(result, Awaitable):
            return result
        return await result

    async def _failed(self, failure: Failure) -> None:
        """Tell of what `on_open` or `on_message` raised, and do what the row says of it."""
        raise_what_ends_the_task(failure.error)
        await self._fail(failure)
        if self._target.on_handler_error == OnHandlerError.CLOSE:
            await self._target.aclose(
                CloseCode.INTERNAL_ERROR, "handler error", CloseCause.HANDLER_ERROR
            )

    async def _fail(self, failure: Failure) -> None:
        if not self._was_ended_by_peer(failure.error):
            self._report(failure)
            if self._target.handler.on_error is not None:
                await self.error(failure.text)

    def _was_ended_by_peer(self, error: BaseException) -> bool:
        """Tell whether a callback ended because its own peer has left, which is no error."""
        if isinstance(error, BaseExceptionGroup):  # from a TaskGroup
            return all(map(self._was_ended_by_peer, error.exceptions))
        return isinstance(error, SessionGone) and error.session == self._target.handle

    def _report(self, failure: Failure) -> None:
        """Log and record what a callback raised; only count what it raises again and again."""
        record = self._target.record
        if self._log(failure):
            record.error(failure.detail)
        else:
            record.count_error()

    def _log(self, failure: Failure) -> bool:
        """Log what a callback raised, unless that is a repeat; return whether it was logged."""
        target = self._target
        if target.record.is_repeat(
            EventKind.ERROR,
            failure.kind,
            lambda: failure.detail,
            recorded=failure.callback.name != Method.MAY_OPEN,
        ):
            return False
        logger.error(
            "%s of %s raised", failure.callback.name, target.handler.reference,
            exc_info=failure.shown, extra=target.log_extra(),
        )  # fmt: skip
        return True


async def _nothing() -> None:
    """Do what a handler does that doesn't care."""


def raise_what_ends_the_task(error: BaseException) -> None:
    """Re-raise what is meant for this task, and not an error of the handler's.

    A handler may also raise `CancelledError` because something that it awaited was cancelled:
    that is its own failure, and nobody asked this task to end. Nor is a `KeyboardInterrupt`
    anybody's wish here, since servers and runners take their signals otherwise; let out of a
    task, it would stop the event loop and with it everybody's sessions.
    """
    if isinstance(error, GeneratorExit):  # the coroutine is being thrown away
        raise error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
