"""Every state, kind and cause in one place, and which change may follow which."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from ..exceptions import IllegalTransition


class Direction(StrEnum):
    """Which way a peer was opened: towards this site, or by it."""

    IN = "in"
    OUT = "out"


class Method(StrEnum):
    """Which function of the handler runs: the callbacks by the seed's names, and `may_open`."""

    ON_OPEN = "onopen"
    ON_MESSAGE = "onmessage"
    ON_ERROR = "onerror"
    ON_CLOSE = "onclose"
    MAY_OPEN = "may_open"


class Access(StrEnum):
    """Who may enter an endpoint."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    STAFF = "staff"


class RateScope(StrEnum):
    """Whose messages an endpoint's rate counts together."""

    SESSION = "session"
    USER = "user"
    ADDRESS = "address"


class OnChange(StrEnum):
    """What a changed endpoint means for the sessions that are open on it."""

    KEEP = "keep"
    DRAIN = "drain"
    CLOSE = "close"


class OnHandlerError(StrEnum):
    """What a raising callback means for its peer."""

    CONTINUE = "continue"
    CLOSE = "close"


class MessageRecording(StrEnum):
    """What is kept of each message, beside the counters that are always kept."""

    COUNTERS = "counters"
    ROWS = "rows"
    PAYLOADS = "payloads"


class EventKind(StrEnum):
    """One recorded fact in the life of a session, a client or a node."""

    CONNECTING = "connecting"
    OPEN = "open"
    MESSAGE = "message"
    ERROR = "error"
    CLOSE = "close"
    AFTER_CLOSE = "after_close"
    RECONNECT = "reconnect"
    REFUSED = "refused"
    PROBLEM = "problem"
    CHANGED = "changed"
    GAP = "gap"
    NODE_STARTED = "node_started"
    NODE_STOPPED = "node_stopped"
    NODE_LOST = "node_lost"
    DRAIN = "drain"


class CloseCause(StrEnum):
    """Why a session or connection ended."""

    PEER = "peer"
    HANDLER = "handler"
    HANDLER_ERROR = "handler_error"
    IDLE = "idle"
    RATE = "rate"
    TOO_BIG = "too_big"
    SLOW = "slow"
    ADMIN = "admin"
    REVOKED = "revoked"
    CONFIG = "config"
    SHUTDOWN = "shutdown"
    NODE_LOST = "node_lost"
    LEASE_LOST = "lease_lost"
    PING_TIMEOUT = "ping_timeout"
    PROTOCOL = "protocol"
    SERVER = "server"
    TRANSPORT = "transport"


class SendAnswer(StrEnum):
    """What became of a send to a peer."""

    WRITTEN = "written"
    FORWARDED = "forwarded"
    GONE = "gone"


class Topic(StrEnum):
    """What nodes hurry each other about."""

    DESCRIPTORS = "descriptors"
    OUTBOX = "outbox"


class NodeKind(StrEnum):
    """What a node holds."""

    SERVER = "server"
    RUNNER = "runner"


class NodeState(StrEnum):
    """Whether a node's lease is renewed, was given back, or was taken away."""

    ALIVE = "alive"
    STOPPED = "stopped"
    LOST = "lost"


class DrainState(StrEnum):
    """How far a node has come with closing its sessions by and by."""

    ASKED = "asked"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class Desired(StrEnum):
    """What the admin wants of a client."""

    RUN = "run"
    STOP = "stop"


class ClientState(StrEnum):
    """What a client is doing, as its runner last wrote."""

    UNASSIGNED = "unassigned"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    BACKOFF = "backoff"
    STOPPED = "stopped"
    FAILED = "failed"


class Failure(StrEnum):
    """What kept a client from opening, or ended it before its `on_open` had run."""

    ADDRESS = "address"
    CREDENTIAL = "credential"
    URI = "uri"
    HANDLER = "handler"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    OTHER = "other"


class OnUncertain(StrEnum):
    """What becomes of a message of which nobody knows whether the peer received it."""

    HOLD = "hold"
    RESEND = "resend"


class OutboxStatus(StrEnum):
    """How far a message on its way out has come."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    WRITTEN = "written"
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    DEAD = "dead"
    UNCERTAIN = "uncertain"


_C = ClientState
# A runner that died leaves any state behind; whoever takes over starts at CONNECTING, and
# whoever lets go ends at UNASSIGNED or STOPPED, so those three can be reached from everywhere.
_ALWAYS: Final = frozenset({_C.CONNECTING, _C.UNASSIGNED, _C.STOPPED})
_CLIENT_TRANSITIONS: Final = {
    _C.UNASSIGNED: _ALWAYS | {_C.FAILED},
    _C.CONNECTING: _ALWAYS | {_C.OPEN, _C.BACKOFF, _C.FAILED},
    _C.OPEN: _ALWAYS | {_C.CLOSING, _C.BACKOFF, _C.FAILED},
    _C.CLOSING: _ALWAYS | {_C.BACKOFF, _C.FAILED},
    _C.BACKOFF: _ALWAYS,
    _C.STOPPED: _ALWAYS,
    _C.FAILED: _ALWAYS,
}


_O = OutboxStatus
_OUTBOX_BEFORE: Final = {
    # Back to QUEUED goes what was never written, and what is to be sent again all the same.
    _O.QUEUED: {_O.CLAIMED, _O.WRITTEN, _O.UNCERTAIN, _O.EXPIRED, _O.DEAD},
    _O.CLAIMED: {_O.QUEUED},
    _O.WRITTEN: {_O.CLAIMED},
    _O.ACKNOWLEDGED: {_O.CLAIMED, _O.WRITTEN},
    _O.EXPIRED: {_O.QUEUED},
    _O.DEAD: {_O.QUEUED, _O.CLAIMED, _O.WRITTEN, _O.UNCERTAIN},
    _O.UNCERTAIN: {_O.CLAIMED, _O.WRITTEN},
}


def check_client_transition(old: ClientState, new: ClientState) -> ClientState:
    """Return `new` if a client may go there from `old`; raise `IllegalTransition` otherwise."""
    if new not in _CLIENT_TRANSITIONS[old]:
        allowed = ", ".join(sorted(_CLIENT_TRANSITIONS[old]))
        raise IllegalTransition(f"A client can't go from {old} to {new}; allowed: {allowed}.")
    return new


def outbox_statuses_before(new: OutboxStatus) -> frozenset[OutboxStatus]:
    """Return the statuses from which a message may come to `new`, for the WHERE of its write."""
    return frozenset(_OUTBOX_BEFORE[new])
