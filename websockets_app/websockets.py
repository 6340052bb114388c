"""The public API: what a handler, a view, a shell or a task calls.

::

    from websockets_app import websockets

It re-creates Eclipse Dirigible's `net/v4/websockets` and 2.x `net/websocket`. Functions that ask
about the running callback answer None (or False) outside of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .core.call import current_call
from .core.peer import Peer
from .core.states import CloseCause, Direction, Method, SendAnswer
from .inbound.handle import WebsocketSession
from .node.broadcast import abroadcast, broadcast
from .outbound.handle import WebsocketClient

__all__ = [
    "CloseCause",
    "Direction",
    "Method",
    "Peer",
    "SendAnswer",
    "WebsocketClient",
    "WebsocketSession",
    "abroadcast",
    "broadcast",
    "get_error",
    "get_message",
    "get_method",
    "get_params",
    "get_session",
    "is_on_close",
    "is_on_error",
    "is_on_message",
    "is_on_open",
]


def get_message() -> str | bytes | None:
    """Return the message that `on_message` runs for (the seed's `getMessage`)."""
    call = current_call.get()
    return call.message if call else None


def get_error() -> str | None:
    """Return the text that `on_error` runs for (the seed's `getError`)."""
    call = current_call.get()
    return call.error if call else None


def get_method() -> Method | None:
    """Return which callback runs: "onopen", "onmessage", "onerror" or "onclose".

    In `may_open`, which is no callback, "may_open".
    """
    call = current_call.get()
    return call.method if call else None


def get_session() -> Peer | None:
    """Return the session or connection of the callback (the seed's 2.x `getSession`)."""
    call = current_call.get()
    return call.session if call else None


def get_params() -> Mapping[str, Any] | None:
    """Return what the endpoint's pattern captured from the path."""
    call = current_call.get()
    return call.params if call else None


def is_on_open() -> bool:
    """Tell whether `on_open` runs (the seed's `isOnOpen`)."""
    return get_method() == Method.ON_OPEN


def is_on_message() -> bool:
    """Tell whether `on_message` runs (the seed's `isOnMessage`)."""
    return get_method() == Method.ON_MESSAGE


def is_on_error() -> bool:
    """Tell whether `on_error` runs (the seed's `isOnError`)."""
    return get_method() == Method.ON_ERROR


def is_on_close() -> bool:
    """Tell whether `on_close` runs (the seed's `isOnClose`)."""
    return get_method() == Method.ON_CLOSE
