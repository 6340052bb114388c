"""The words that people read for the values of `core.states`, and the CHECK that holds them.

Plain values, not members of the enums: a migration that named those would break with their code.
"""

from __future__ import annotations

from enum import StrEnum

from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..core import states

Labels = list[tuple[str, str | Promise]]

ACCESS: Labels = [
    (states.Access.PUBLIC.value, _("everyone")),
    (states.Access.AUTHENTICATED.value, _("logged-in users")),
    (states.Access.STAFF.value, _("staff")),
]
RATE_SCOPE: Labels = [
    (states.RateScope.SESSION.value, _("of a session")),
    (states.RateScope.USER.value, _("of a user, in all processes")),
    (states.RateScope.ADDRESS.value, _("of an address, in all processes")),
]
ON_CHANGE: Labels = [
    (states.OnChange.KEEP.value, _("keep: the new handler from the next message")),
    (states.OnChange.DRAIN.value, _("drain: the old handler until they leave")),
    (states.OnChange.CLOSE.value, _("close with 1012, to come back")),
]
ON_HANDLER_ERROR: Labels = [
    (states.OnHandlerError.CONTINUE.value, _("stay open")),
    (states.OnHandlerError.CLOSE.value, _("close with 1011")),
]
MESSAGE_RECORDING: Labels = [
    (states.MessageRecording.COUNTERS.value, _("count only")),
    (states.MessageRecording.ROWS.value, _("a row each, without payload")),
    (states.MessageRecording.PAYLOADS.value, _("a row each, with payload")),
]
DESIRED: Labels = [
    (states.Desired.RUN.value, _("run")),
    (states.Desired.STOP.value, _("stop")),
]
CLIENT_STATE: Labels = [
    (states.ClientState.UNASSIGNED.value, _("unassigned")),
    (states.ClientState.CONNECTING.value, _("connecting")),
    (states.ClientState.OPEN.value, _("open")),
    (states.ClientState.CLOSING.value, _("closing")),
    (states.ClientState.BACKOFF.value, _("backoff")),
    (states.ClientState.STOPPED.value, _("stopped")),
    (states.ClientState.FAILED.value, _("failed")),
]
DIRECTION: Labels = [
    (states.Direction.IN.value, _("in")),
    (states.Direction.OUT.value, _("out")),
]
EVENT_KIND: Labels = [
    (states.EventKind.CONNECTING.value, _("connecting")),
    (states.EventKind.OPEN.value, _("open")),
    (states.EventKind.MESSAGE.value, _("message")),
    (states.EventKind.ERROR.value, _("error")),
    (states.EventKind.CLOSE.value, _("close")),
    (states.EventKind.AFTER_CLOSE.value, _("after the close")),
    (states.EventKind.RECONNECT.value, _("reconnect")),
    (states.EventKind.REFUSED.value, _("refused")),
    (states.EventKind.PROBLEM.value, _("problem")),
    (states.EventKind.CHANGED.value, _("changed")),
    (states.EventKind.GAP.value, _("gap")),
    (states.EventKind.NODE_STARTED.value, _("node started")),
    (states.EventKind.NODE_STOPPED.value, _("node stopped")),
    (states.EventKind.NODE_LOST.value, _("node lost")),
    (states.EventKind.DRAIN.value, _("drain")),
]
CLOSE_CAUSE: Labels = [
    (states.CloseCause.PEER.value, _("the peer closed")),
    (states.CloseCause.HANDLER.value, _("the handler closed")),
    (states.CloseCause.HANDLER_ERROR.value, _("a callback raised")),
    (states.CloseCause.IDLE.value, _("idle too long")),
    (states.CloseCause.RATE.value, _("too many messages")),
    (states.CloseCause.TOO_BIG.value, _("message too big")),
    (states.CloseCause.SLOW.value, _("too much waiting")),
    (states.CloseCause.ADMIN.value, _("closed by an operator")),
    (states.CloseCause.REVOKED.value, _("access revoked")),
    (states.CloseCause.CONFIG.value, _("the row changed")),
    (states.CloseCause.SHUTDOWN.value, _("shutdown")),
    (states.CloseCause.NODE_LOST.value, _("the node was lost")),
    (states.CloseCause.LEASE_LOST.value, _("the lease was lost")),
    (states.CloseCause.PING_TIMEOUT.value, _("no pong in time")),
    (states.CloseCause.PROTOCOL.value, _("protocol error")),
    (states.CloseCause.SERVER.value, _("the server's own limit")),
    (states.CloseCause.TRANSPORT.value, _("the transport broke")),
]
NODE_KIND: Labels = [
    (states.NodeKind.SERVER.value, _("server")),
    (states.NodeKind.RUNNER.value, _("runner")),
]
NODE_STATE: Labels = [
    (states.NodeState.ALIVE.value, _("alive")),
    (states.NodeState.STOPPED.value, _("stopped")),
    (states.NodeState.LOST.value, _("lost")),
]
DRAIN_STATE: Labels = [
    (states.DrainState.ASKED.value, _("asked for")),
    (states.DrainState.RUNNING.value, _("under way")),
    (states.DrainState.DONE.value, _("done")),
    (states.DrainState.CANCELLED.value, _("cancelled")),
]
ON_UNCERTAIN: Labels = [
    (states.OnUncertain.HOLD.value, _("hold: sent at most once")),
    (states.OnUncertain.RESEND.value, _("resend: sent at least once")),
]
FAILURE: Labels = [
    (states.Failure.ADDRESS.value, _("address not allowed")),
    (states.Failure.CREDENTIAL.value, _("credential missing")),
    (states.Failure.URI.value, _("bad URI")),
    (states.Failure.HANDLER.value, _("handler has a problem")),
    (states.Failure.UNREACHABLE.value, _("unreachable")),
    (states.Failure.TLS.value, _("TLS failed")),
    (states.Failure.REFUSED.value, _("handshake refused")),
    (states.Failure.TIMEOUT.value, _("no answer in time")),
    (states.Failure.CLOSED.value, _("closed at once")),
    (states.Failure.OTHER.value, _("other")),
]
OUTBOX_STATUS: Labels = [
    (states.OutboxStatus.QUEUED.value, _("queued")),
    (states.OutboxStatus.CLAIMED.value, _("claimed")),
    (states.OutboxStatus.WRITTEN.value, _("written")),
    (states.OutboxStatus.ACKNOWLEDGED.value, _("acknowledged")),
    (states.OutboxStatus.EXPIRED.value, _("expired")),
    (states.OutboxStatus.DEAD.value, _("dead")),
    (states.OutboxStatus.UNCERTAIN.value, _("uncertain")),
]


def one_of(
    field: str, values: type[StrEnum], *, or_empty: bool = False, mostly: str | None = None
) -> CheckConstraint:
    """Return the constraint that `field` holds one of `values`.

    What it holds `mostly` is compared first. SQLite makes an index of the others for each row that
    it has to look up, which costs half of what writing a small row does.
    """
    allowed = [str(value) for value in values] + ([""] if or_empty else [])
    condition = Q(**{f"{field}__in": allowed})
    if mostly is not None:
        condition = Q(**{field: mostly}) | condition
    return CheckConstraint(condition=condition, name=f"websockets_%(class)s_{field}")


def one_row_a_file() -> UniqueConstraint:
    """Return the constraint that a file owns one row of its kind."""
    return UniqueConstraint(
        fields=("source_root", "source"),
        condition=~Q(source=""),
        name="websockets_%(class)s_file",
    )
