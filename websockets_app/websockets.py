"""The public API: what a handler, a view, a shell or a task calls.

::

    from websockets_app import websockets

It re-creates Eclipse Dirigible's `net/v4/websockets` and 2.x `net/websocket`. Functions that ask
about the running callback answer None (or False) outside of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from asgiref.sync import sync_to_async

from .core.call import current_call
from .core.peer import Peer
from .core.states import CloseCause, Direction, Method, SendAnswer
from .inbound.handle import WebsocketSession, open_sessions
from .node.broadcast import abroadcast, broadcast
from .node.handles import refuse_in_event_loop
from .outbound import creation, listing
from .outbound.creation import ClientOptions, Creation
from .outbound.handle import WebsocketClient
from .shared.interface import Shared

__all__ = [
    "ClientOptions",
    "CloseCause",
    "Direction",
    "Method",
    "Peer",
    "SendAnswer",
    "Shared",
    "WebsocketClient",
    "WebsocketSession",
    "abroadcast",
    "acreate_websocket",
    "aget_client",
    "aget_client_by_handler",
    "aget_clients",
    "aget_open_sessions",
    "broadcast",
    "create_websocket",
    "get_client",
    "get_client_by_handler",
    "get_clients",
    "get_error",
    "get_message",
    "get_method",
    "get_open_sessions",
    "get_params",
    "get_session",
    "is_on_close",
    "is_on_error",
    "is_on_message",
    "is_on_open",
    "shared",
]

# Clients


def create_websocket(
    uri: str,
    handler: str,
    engine: str = "python",
    *,
    name: str | None = None,
    wait: bool = True,
    timeout: float = 10.0,
    **options: Unpack[ClientOptions],
) -> WebsocketClient:
    """Create a client and return it (the seed's `createWebsocket`).

    Waits until the runner has connected it and its `on_open` has run; with `wait=False` returns at
    once. With a `name` it is a lasting row, which is brought back when its connection breaks, and
    created once: a second call with the same values returns the same client, and runs it again
    where it was stopped. Without one it is ephemeral, as in the seed: never connected again, and
    its row is gone when it closes.
    `options` are what else its row may say (`ClientOptions`).

    Raises, leaving nothing behind that was not there before (but a client that another call has
    returned meanwhile), `HandlerProblem`, `InvalidUri`,
    `InvalidClient`, `ClientConflict`, and where it waits also `WaitInTransaction`, `NoRunner`,
    `ConnectFailed` in its kinds, `AddressNotAllowed` and `CredentialMissing`.
    """
    refuse_in_event_loop("acreate_websocket")
    client = creation.described(uri, handler, engine, name, options)
    return creation.create(Creation(client, options, timeout if wait else None))


async def acreate_websocket(
    uri: str,
    handler: str,
    engine: str = "python",
    *,
    name: str | None = None,
    wait: bool = True,
    timeout: float = 10.0,
    **options: Unpack[ClientOptions],
) -> WebsocketClient:
    """Create a client and return it, as `create_websocket` does."""
    client = await sync_to_async(creation.described)(uri, handler, engine, name, options)
    return await creation.acreate(Creation(client, options, timeout if wait else None))


def get_clients() -> list[dict[str, Any]]:
    """Return what there is to know of each client, as JSON can hold it (the seed's `getClients`).

    `id, name, uri, handler, engine, desired, ephemeral, state, reason, attempt, since,
    next_attempt_at, opened_at, created_at`; times in ISO 8601, URIs without their secrets.
    """
    refuse_in_event_loop("aget_clients")
    return listing.described_clients()


async def aget_clients() -> list[dict[str, Any]]:
    """Return what there is to know of each client, as `get_clients` does."""
    return await sync_to_async(get_clients)()


def get_client(id: int | str) -> WebsocketClient | None:  # noqa: A002 - the seed's name
    """Return the client with that id, or None (the seed's `getClient`)."""
    refuse_in_event_loop("aget_client")
    return listing.client(id)


async def aget_client(id: int | str) -> WebsocketClient | None:  # noqa: A002 - the seed's name
    """Return the client with that id, or None."""
    return await sync_to_async(get_client)(id)


def get_client_by_handler(handler: str, engine: str = "python") -> WebsocketClient | None:
    """Return the open client with that handler that was created first (`getClientByHandler`).

    `handler` may be written in any of its spellings. None where no such client is open, or the one
    that is has been told to close.
    """
    refuse_in_event_loop("aget_client_by_handler")
    return listing.client_by_handler(handler, engine)


async def aget_client_by_handler(handler: str, engine: str = "python") -> WebsocketClient | None:
    """Return the open client with that handler that was created first."""
    return await sync_to_async(get_client_by_handler)(handler, engine)


# The running callback


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


def get_open_sessions(endpoint: str | None = None) -> list[WebsocketSession]:
    """Return the sessions that are open now, in any process (the seed's 2.x `getOpenSessions`).

    The oldest first; those of `endpoint` only, as its row writes it, where that is given. What
    opened elsewhere is seen within a second.
    """
    refuse_in_event_loop("aget_open_sessions")
    return open_sessions(endpoint)


async def aget_open_sessions(endpoint: str | None = None) -> list[WebsocketSession]:
    """Return the sessions that are open now, as `get_open_sessions` does."""
    return await sync_to_async(get_open_sessions)(endpoint)


def get_params() -> Mapping[str, Any] | None:
    """Return what the endpoint's pattern captured from the path.

    In the `handle` of a 2.x service, what its request says as `params` (the seed's
    `core/context`). They can't be changed.
    """
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


# What handlers of all processes share

shared = Shared()
"""Values and members under keys (the seed's 2.x `core/globals`)."""
