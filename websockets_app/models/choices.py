"""The words that people read for the values of `core.states`, and the CHECK that holds them."""

from __future__ import annotations

from enum import StrEnum

from django.db.models import CheckConstraint, Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..core import states

Labels = list[tuple[str, str | Promise]]

ACCESS: Labels = [
    (states.Access.PUBLIC, _("everyone")),
    (states.Access.AUTHENTICATED, _("logged-in users")),
    (states.Access.STAFF, _("staff")),
]
ON_CHANGE: Labels = [
    (states.OnChange.KEEP, _("keep: the new handler from the next message")),
    (states.OnChange.DRAIN, _("drain: the old handler until they leave")),
    (states.OnChange.CLOSE, _("close with 1012, to come back")),
]
ON_HANDLER_ERROR: Labels = [
    (states.OnHandlerError.CONTINUE, _("stay open")),
    (states.OnHandlerError.CLOSE, _("close with 1011")),
]
MESSAGE_RECORDING: Labels = [
    (states.MessageRecording.COUNTERS, _("count only")),
    (states.MessageRecording.ROWS, _("a row each, without payload")),
    (states.MessageRecording.PAYLOADS, _("a row each, with payload")),
]
DESIRED: Labels = [
    (states.Desired.RUN, _("run")),
    (states.Desired.STOP, _("stop")),
]
CLIENT_STATE: Labels = [
    (states.ClientState.UNASSIGNED, _("unassigned")),
    (states.ClientState.CONNECTING, _("connecting")),
    (states.ClientState.OPEN, _("open")),
    (states.ClientState.CLOSING, _("closing")),
    (states.ClientState.BACKOFF, _("backoff")),
    (states.ClientState.STOPPED, _("stopped")),
    (states.ClientState.FAILED, _("failed")),
]
DIRECTION: Labels = [
    (states.Direction.IN, _("in")),
    (states.Direction.OUT, _("out")),
]
EVENT_KIND: Labels = [
    (states.EventKind.CONNECTING, _("connecting")),
    (states.EventKind.OPEN, _("open")),
    (states.EventKind.MESSAGE, _("message")),
    (states.EventKind.ERROR, _("error")),
    (states.EventKind.CLOSE, _("close")),
    (states.EventKind.RECONNECT, _("reconnect")),
    (states.EventKind.REFUSED, _("refused")),
    (states.EventKind.PROBLEM, _("problem")),
    (states.EventKind.CHANGED, _("changed")),
    (states.EventKind.GAP, _("gap")),
    (states.EventKind.NODE_STARTED, _("node started")),
    (states.EventKind.NODE_STOPPED, _("node stopped")),
    (states.EventKind.NODE_LOST, _("node lost")),
]
CLOSE_CAUSE: Labels = [
    (states.CloseCause.PEER, _("the peer closed")),
    (states.CloseCause.HANDLER, _("the handler closed")),
    (states.CloseCause.HANDLER_ERROR, _("a callback raised")),
    (states.CloseCause.IDLE, _("idle too long")),
    (states.CloseCause.RATE, _("too many messages")),
    (states.CloseCause.TOO_BIG, _("message too big")),
    (states.CloseCause.SLOW, _("too much waiting")),
    (states.CloseCause.ADMIN, _("closed by an operator")),
    (states.CloseCause.REVOKED, _("access revoked")),
    (states.CloseCause.CONFIG, _("the row changed")),
    (states.CloseCause.SHUTDOWN, _("shutdown")),
    (states.CloseCause.NODE_LOST, _("the node was lost")),
    (states.CloseCause.LEASE_LOST, _("the lease was lost")),
    (states.CloseCause.PING_TIMEOUT, _("no pong in time")),
    (states.CloseCause.PROTOCOL, _("protocol error")),
    (states.CloseCause.SERVER, _("the server's own limit")),
    (states.CloseCause.TRANSPORT, _("the transport broke")),
]
NODE_KIND: Labels = [
    (states.NodeKind.SERVER, _("server")),
    (states.NodeKind.RUNNER, _("runner")),
]
NODE_STATE: Labels = [
    (states.NodeState.ALIVE, _("alive")),
    (states.NodeState.STOPPED, _("stopped")),
    (states.NodeState.LOST, _("lost")),
]
OUTBOX_STATUS: Labels = [
    (states.OutboxStatus.QUEUED, _("queued")),
    (states.OutboxStatus.CLAIMED, _("claimed")),
    (states.OutboxStatus.WRITTEN, _("written")),
    (states.OutboxStatus.ACKNOWLEDGED, _("acknowledged")),
    (states.OutboxStatus.EXPIRED, _("expired")),
    (states.OutboxStatus.DEAD, _("dead")),
    (states.OutboxStatus.UNCERTAIN, _("uncertain")),
]


def one_of(field: str, values: type[StrEnum], *, or_empty: bool = False) -> CheckConstraint:
    """Return the constraint that `field` holds one of `values`."""
    allowed = [str(value) for value in values] + ([""] if or_empty else [])
    return CheckConstraint(
        condition=Q(**{f"{field}__in": allowed}), name=f"websockets_%(class)s_{field}"
    )
