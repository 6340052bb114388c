"""Why a runner lets go of a client, or closes its connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..core.close_codes import CloseCode
from ..core.policy import Outcome
from ..core.states import ClientState, CloseCause
from ..models.outbox import Claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Why a runner lets go of a client, and the state that it leaves behind."""

    state: ClientState
    reason: str
    code: int
    cause: CloseCause
    close_reason: str = ""


STOPPED: Final = Parting(
    state=ClientState.STOPPED,
    reason="stopped in its row",
    code=CloseCode.NORMAL,
    cause=CloseCause.CONFIG,
)
RUNNER_STOPS: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="its runner was stopped",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.SHUTDOWN,
)
LEASE_LOST: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="another runner may have it",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.LEASE_LOST,
)
CLOSED_BY_OPERATOR: Final = Parting(
    state=ClientState.STOPPED,
    reason="closed by an operator",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.ADMIN,
)
CHANGED: Final = Parting(
    state=ClientState.STOPPED,
    reason="its row changed",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.CONFIG,
)
FAILURE: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="its runner could not go on with it; see the runner's log",
    code=CloseCode.INTERNAL_ERROR,
    cause=CloseCause.TRANSPORT,
)


def by_code(message: Claimed) -> Parting:
    """Return the parting that a client's code asked for."""
    return Parting(
        state=ClientState.STOPPED,
        reason="closed by its code",
        code=message.close_code or CloseCode.NORMAL,
        cause=CloseCause(message.close_cause or CloseCause.HANDLER),
        close_reason=message.close_reason,
    )


def at_the_end(outcome: Outcome) -> Parting:
    """Return the parting of an ephemeral client, whose one attempt or connection is over."""
    code = outcome.code or CloseCode.ABNORMAL
    return Parting(
        state=ClientState.STOPPED, reason=outcome.reason, code=code, cause=CloseCause.TRANSPORT
    )
