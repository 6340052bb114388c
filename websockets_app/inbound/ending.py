"""How a session ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..core.close_codes import MAX_REASON_BYTES, CloseCode
from ..core.states import CloseCause
from ..core.text import tame
from . import server

_CODES: Final = range(1000, 5000)  # RFC 6455 §7.4.2

_CAUSES: Final[dict[int, CloseCause]] = {
    CloseCode.ABNORMAL: CloseCause.TRANSPORT,
    CloseCode.PROTOCOL_ERROR: CloseCause.PROTOCOL,
    CloseCode.INVALID_PAYLOAD: CloseCause.PROTOCOL,
    CloseCode.MESSAGE_TOO_BIG: CloseCause.SERVER,
    CloseCode.SERVICE_RESTART: CloseCause.SHUTDOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a session ended: the first to say so is right."""

    code: int
    sent: int | None
    reason: str
    cause: CloseCause
    at: float


def told_by_server(event: Mapping[str, Any]) -> tuple[int, CloseCause, str]:
    """Return code, cause and reason of a session's end that wasn't ours, as the server tells it.

    Some servers hand on whatever code a peer sends. Columns hold those that there are.
    """
    code = server.disconnect_code(event)
    if code not in _CODES:
        code = CloseCode.PROTOCOL_ERROR
    reason = tame(event.get("reason") or "", MAX_REASON_BYTES)
    return code, _CAUSES.get(code, CloseCause.PEER), reason
