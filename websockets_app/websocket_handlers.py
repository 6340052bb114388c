"""Handlers that the app ships: the seed's 2.x service, for an endpoint `/service/<str:type>`.

Each message names one of the services that the endpoint's row offers, and what to hand to its
`handle(params)`::

    {"module": "/chat/chat_service.js", "params": {"type": "welcome", "from": "Tom"}}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, cast

from .conf import app_settings
from .core.call import Call, current_call
from .core.reference import normalize
from .core.states import EventKind
from .core.text import tame
from .dispatch.dispatcher import Target
from .dispatch.services import PYTHON
from .redaction import get_logger
from .websockets import WebsocketSession

logger = get_logger(__name__)

LONGEST_MODULE: Final = 255
WRONG_FORMAT: Final = "Wrong format of the request"
UNKNOWN_MODULE: Final = "Unknown module in the request"
FAILED: Final = "Error while handling the request"
_SEEDS_TYPE: Final = "js"
_UNKNOWN_TYPE: Final = 4404


class Request(NamedTuple):
    """One call of a service module."""

    module: str
    params: Mapping[str, Any]


def may_open(params: Mapping[str, Any]) -> bool | int:
    """Let in whoever names an engine that there is."""
    return _engine(params) is not None or _UNKNOWN_TYPE


def on_message(message: str | bytes, params: Mapping[str, Any]) -> Any:
    """Call the service that the message names; what it returns is sent.

    It is a sync callback, so that a sync `handle` doesn't block the event loop. A message that is
    not a request gets the answer that Dirigible gives.
    """
    try:
        request = parse(message)
    except (ValueError, RecursionError):
        return WRONG_FORMAT
    call = current_call.get()
    assert call is not None
    peer = cast(Target, call.peer)
    handle = peer.handler.services.get((_engine(params) or "", normalize(request.module)))
    if handle is None:
        return _answer_unknown(peer, request.module)
    call = call.with_params(request.params)
    current_call.set(call)  # in this thread's context; the dispatcher clears the task's own
    result = handle.invoke(call)
    return _within(call, result) if isinstance(result, Awaitable) else result


async def on_error(session: WebsocketSession) -> None:
    """Answer a request that failed. The operator reads why in the log and the events."""
    await session.asend_text(FAILED)


def parse(message: str | bytes) -> Request:
    """Read a message as the seed's service does; raise `ValueError` where it is no request."""
    if isinstance(message, bytes):
        raise ValueError("The service takes text.")
    read = json.loads(message, parse_constant=_refuse)
    module, params = (read.get("module"), read.get("params")) if _is_dict(read) else (None, None)
    if not isinstance(module, str) or len(module) > LONGEST_MODULE:
        raise ValueError("A request names a module.")
    if not (params is None or _is_dict(params)):
        raise ValueError("The params of a request are an object.")
    return Request(module, MappingProxyType(params or {}))


async def _answer_unknown(peer: Target, module: str) -> str:
    """Record a request for a module that isn't offered: here, in the session's task."""
    record = peer.record
    detail = f"on_message: the endpoint doesn't offer the service {tame(module)}"
    if record.is_repeat(EventKind.ERROR, "unknown service", lambda: detail, level=logging.WARNING):
        record.count_error()
    else:
        logger.warning("%s", detail, extra=peer.log_extra())
        record.error(detail)
    return UNKNOWN_MODULE


async def _within(call: Call, awaitable: Awaitable[Any]) -> Any:
    """Await it where it sees its own call: here, in the session's task."""
    current_call.set(call)
    return await awaitable


def _engine(params: Mapping[str, Any]) -> str | None:
    """Return the engine that the URL names, in any case; the seed's `js` is Python here."""
    wanted = str(params.get("type", _SEEDS_TYPE)).lower()
    engines = {name.lower(): name for name in app_settings.ENGINES}
    if wanted == _SEEDS_TYPE:
        engines.setdefault(_SEEDS_TYPE, engines.get(PYTHON, ""))
    return engines.get(wanted) or None


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON.")
