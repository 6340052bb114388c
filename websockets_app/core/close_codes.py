"""Close codes: those of RFC 6455 §7.4 and the IANA registry, and our own in 44xx."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MAX_REASON_BYTES: Final = 123  # RFC 6455 §5.5: 125 bytes of a control frame, less the code's two


class CloseCode(IntEnum):
    """Why a connection is closed, as a number on the wire."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TLS_HANDSHAKE = 1015
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    IDLE = 4408
    TOO_MANY = 4429


_NEVER_SENT: Final = {CloseCode.NO_STATUS, CloseCode.ABNORMAL, CloseCode.TLS_HANDSHAKE}
_RESERVED: Final = range(1000, 3000)
_APPLICATION: Final = range(3000, 5000)


def may_be_sent(code: int) -> bool:
    """Tell whether an endpoint may put `code` into a close frame (RFC 6455 §7.4)."""
    if code in _APPLICATION:
        return True
    return code in CloseCode.__members__.values() and code not in _NEVER_SENT


def checked(code: int) -> int:
    """Return `code` as a plain number; raise `ValueError` where no endpoint may send it."""
    if not may_be_sent(code):
        raise ValueError(
            f"{code} may not be sent; 1000-1003, 1007-1009, 1011-1013 and 3000-4999 may."
        )
    return int(code)  # of whatever type it is, 4000.0 of a JSON text, say


def code_on_the_wire(code: int, *, server_sends_reserved_codes: bool) -> int:
    """Return what goes out where `code` is meant.

    Some servers (Daphne) refuse to send any code of 1001-2999. There 3000 + code goes out, so
    that 1011 arrives as 4011 and nobody mistakes it for a normal end.
    """
    if server_sends_reserved_codes or code == CloseCode.NORMAL or code not in _RESERVED:
        return int(code)  # autobahn, below Daphne, takes no member of an enum
    return code + 3000


def cut_reason(reason: str) -> str:
    """Return as much of `reason` as a close frame holds: 123 bytes of UTF-8."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
