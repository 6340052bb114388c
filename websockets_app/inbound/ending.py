"""How a session ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..core.close_codes import CloseCode
from ..core.states import CloseCause

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


def cause_of(code: int) -> CloseCause:
    """Return why a session ended that we didn't close, by the code that the server reports."""
    return _CAUSES.get(code, CloseCause.PEER)
