"""What the ASGI server underneath can do, found out where it doesn't say."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from ..core.close_codes import CloseCode, code_on_the_wire
from ..dispatch.frames import Frame, size_of
from ..redaction import get_logger

logger = get_logger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CLOSE_SECONDS: Final = 1.0
"""How long a close frame may wait behind what a peer doesn't read."""
REJECTED_SECONDS: Final = 5.0
"""How long Uvicorn may take to close a connection whose handshake was rejected."""
STOPPING_SECONDS: Final = 0.25
"""How long after its connections the lifespan of Granian may end."""
_FORBIDDEN: Final = 403
PEER_HAS_LEFT: Final = (OSError, RuntimeError)
"""What servers raise from `send` once the peer has left: ASGI says OSError, not all listen."""

_IMPORTED_BY: Final = {
    "granian": "granian.server",
    "hypercorn": "hypercorn.asyncio.run",
    "uvicorn": "uvicorn.server",
}
"""What a process imports that runs the server; Daphne is imported by others, too."""


_SEND_WITHOUT_A_TASK: Final = {"daphne", "uvicorn"}
"""Packages whose `send` neither sets a timeout nor changes a context variable."""


def _running_reactor() -> Any | None:
    """Return Twisted's reactor if it drives this process: then the server is Daphne.

    `daphne` in INSTALLED_APPS imports the reactor under every server; only Daphne runs it.
    """
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if getattr(reactor, "running", False) else None


def name() -> str:
    """Return the server's name, where it can be known."""
    if _running_reactor():
        return "daphne"
    return next((known for known, module in _IMPORTED_BY.items() if module in sys.modules), "")


def sends_reserved_codes() -> bool:
    """Whether close codes of 1001-2999 can be sent. Daphne refuses those, and all reasons."""
    return _running_reactor() is None


def on_the_wire(code: int) -> int:
    """Return the close code that goes out here where `code` is meant."""
    return code_on_the_wire(code, server_sends_reserved_codes=sends_reserved_codes())


def disconnect_code(event: Mapping[str, Any]) -> int:
    """Return the code of a `websocket.disconnect` event.

    Uvicorn calls it 1005 as well when the connection broke: then alone it has no reason to tell,
    not even an empty one.
    """
    code = event.get("code") or CloseCode.NO_STATUS
    broke = code == CloseCode.NO_STATUS and "reason" not in event and name() == "uvicorn"
    return CloseCode.ABNORMAL if broke else code


def answered_code(event: Mapping[str, Any]) -> int | None:
    """Return the code of the peer's answer to our close frame; None if the server doesn't tell.

    Hypercorn calls every answer 1000.
    """
    return None if name() == "hypercorn" else disconnect_code(event)


class _EmptyMessage(dict[str, Any]):
    """An event whose empty message counts as something."""

    def get(self, key: str, default: Any = None) -> Any:
        return True if key in self else default


def with_empty_message(event: dict[str, Any]) -> dict[str, Any]:
    """Return a `websocket.send` event whose message is empty in a form that is sent.

    Daphne asks `get("text")` and `get("bytes")` whether there is something to send, and takes an
    empty message, which RFC 6455 allows, for nothing. What it sends it reads by `[…]`.
    """
    return event if _running_reactor() is None else _EmptyMessage(event)


def sending(frame: Frame) -> tuple[int, dict[str, Any]]:
    """Return the bytes of `frame` on the wire, and the event that lets the server send it.

    Raises `InvalidResult` where it can't be sent.
    """
    key = "text" if isinstance(frame, str) else "bytes"
    event = {"type": "websocket.send", key: frame}
    if not frame:
        return 0, with_empty_message(event)
    return len(frame) if frame.isascii() else size_of(frame), event


def is_its_own(send: Send) -> bool:
    """Tell whether `send` is the server's, of a server that asks for no task of its own in it.

    A middleware of the site's may have put another in its place, which may ask for anything.
    """
    function = send.func if isinstance(send, partial) else send
    module = getattr(function, "__module__", None) or ""  # None of Granian's, say
    return module.partition(".")[0] in _SEND_WITHOUT_A_TASK


async def accept(send: Send, subprotocol: str | None) -> bool:
    """Accept the handshake; False where the peer has left meanwhile."""
    accepted = await _sent(send, {"type": "websocket.accept", "subprotocol": subprotocol})
    return accepted and not _was_rejected_by_server(send)


def _was_rejected_by_server(send: Send) -> bool:
    """Tell whether Hypercorn has rejected a handshake by itself, which it reports to nobody.

    It answers 400 if the peer sends data before the handshake is accepted, ignores what the
    application sends then, and never says that the peer has left.
    """
    stream = getattr(send, "__self__", None)
    return name() == "hypercorn" and getattr(stream, "closed", False) is True


async def reject(scope: Mapping[str, Any], receive: Receive, send: Send, status: int) -> None:
    """Reject the handshake with the HTTP `status`, or with 403 if the server can send no other."""
    if status == _FORBIDDEN or "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})  # servers answer this with 403
        return
    headers = [(b"content-length", b"0")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})
    if name() == "uvicorn":
        await _connection_lost(receive)


async def _connection_lost(receive: Receive) -> None:
    """Wait until Uvicorn has closed a rejected connection.

    It logs an error if the application returns earlier. A first disconnect event follows the
    response at once, a second one the loss of the connection.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await receive()
        async with asyncio.timeout(REJECTED_SECONDS):
            await receive()


async def close(send: Send, code: int, reason: str) -> None:
    """Send a close frame with the `code` that goes out, to a peer that is there and reads."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await _sent(send, {"type": "websocket.close", "code": code, "reason": reason})


async def _sent(send: Send, event: dict[str, Any]) -> bool:
    try:
        await send(event)
    except PEER_HAS_LEFT as error:
        logger.debug("%s failed: %r", event["type"], error)
        return False
    return True


def settled(receive: Receive) -> Receive:
    """Return a `receive` whose disconnect means what it says.

    Granian tells one without a code also when it stops, a moment before its lifespan ends. By
    then the node has begun to drain, and has recorded the shutdown.
    """
    if name() != "granian":
        return receive

    async def receive_settled() -> dict[str, Any]:
        event = await receive()
        if event["type"] == "websocket.disconnect" and event["code"] == CloseCode.NO_STATUS:
            await asyncio.sleep(STOPPING_SECONDS)
        return event

    return receive_settled


def before_shutdown(drain: Callable[[], Awaitable[object]]) -> None:
    """Let the server await `drain` before it stops, where it offers that."""
    reactor = _running_reactor()
    if reactor is None:
        return
    from twisted.internet.defer import Deferred

    loop = asyncio.get_running_loop()

    def as_deferred() -> Any:
        return Deferred.fromFuture(asyncio.ensure_future(drain(), loop=loop))

    reactor.addSystemEventTrigger("before", "shutdown", as_deferred)
