"""How a session ends that hits a limit of its row, and how that is told."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.close_codes import CloseCode
from ..core.states import CloseCause, RateScope
from ..node.sending import over_limit
from .config import EndpointConfig


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that a session has hit."""

    code: CloseCode
    cause: CloseCause
    reason: str
    """Which limit, and its value: the peer reads it, too."""


def too_big(config: EndpointConfig, size: int) -> Excess:
    why = f"{size} bytes; the endpoint takes {config.max_message_size}"
    return Excess(CloseCode.MESSAGE_TOO_BIG, CloseCause.TOO_BIG, why)


def too_many_waiting(config: EndpointConfig) -> Excess:
    most = f"{config.inbox_messages} messages or {config.inbox_bytes} bytes"
    why = f"the handler is slow; the endpoint lets {most} wait"
    return Excess(CloseCode.TRY_AGAIN_LATER, CloseCause.SLOW, why)


def too_much_queued(limit: int, size: int) -> Excess:
    """Return the excess of the session with the most `size` of what a node may queue."""
    return Excess(CloseCode.TRY_AGAIN_LATER, CloseCause.SLOW, over_limit(limit, size))


def too_fast(config: EndpointConfig, *, everywhere: bool = False) -> Excess:
    """Return the excess of a rate that was counted here, or `everywhere`, in all processes."""
    most = f"{config.messages_per_second:g} messages a second, {config.message_burst} at once"
    whose = "" if config.rate_scope == RateScope.SESSION else f" of one {config.rate_scope}"
    where = " in all processes" if everywhere else ""
    why = f"the endpoint takes {most}{whose}{where}"
    return Excess(CloseCode.POLICY_VIOLATION, CloseCause.RATE, why)


def idle(config: EndpointConfig) -> Excess:
    return Excess(CloseCode.IDLE, CloseCause.IDLE, f"no message for {config.idle_timeout:g} s")


def unread(config: EndpointConfig) -> Excess:
    why = f"a message to the peer waited for {config.send_timeout:g} s"
    return Excess(CloseCode.TRY_AGAIN_LATER, CloseCause.SLOW, why)
