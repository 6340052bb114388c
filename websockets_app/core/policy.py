"""What follows what in the life of clients: when to come back, when to give up, what to change.

Everything here is decided from its arguments alone; chance comes in as `uniform`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from .close_codes import CloseCode
from .states import ClientState, Failure

Uniform = Callable[[float, float], float]
"""`random.uniform`, or what a test puts in its place."""

FLOOR_SECONDS: Final = 0.1
"""No attempt follows another any sooner."""
PROBE_SECONDS: Final = 300.0
"""How often a client that has failed is tried all the same, give or take a fifth."""
RETRY_AFTER_CEILING: Final = 3600.0
"""A peer may ask us to stay away for so long, and no longer."""
QUICK_RETURNS: Final = 3
"""How often we come back quickly to a peer that restarts, until a connection was stable."""
MOST_REFUSALS: Final = 3
"""So many connections in a row that ended as refused mean that the next will be, too."""

_RESTARTS: Final = {CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART}
_REFUSALS: Final = {
    CloseCode.INVALID_PAYLOAD,
    CloseCode.POLICY_VIOLATION,
    CloseCode.MESSAGE_TOO_BIG,
}
_CREDENTIALS_REFUSED: Final = {401, 403}
_BUSY: Final = {429, 503}
_RETRY_AFTER: Final = re.compile(r"retry[- ]after[:= ]*(\d{1,6})", re.IGNORECASE)
_LARGEST_EXPONENT: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How a client's row wants it to come back. All in seconds."""

    base: float = 1.0
    ceiling: float = 60.0
    stable_after: float = 30.0

    def delay(self, failures: int, uniform: Uniform) -> float:
        """Return how long to wait after `failures` earlier ones: full jitter, bounded."""
        most = min(self.ceiling, self.base * 2.0 ** min(failures, _LARGEST_EXPONENT))
        return uniform(FLOOR_SECONDS, max(FLOOR_SECONDS, most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt, or the connection that it opened, came to its end."""

    reason: str
    failure: Failure = Failure.OTHER
    hopeless: bool = False
    """The same attempt would fail again: a bad URI or certificate, a missing credential."""
    status: int | None = None
    """The HTTP status that refused the handshake."""
    code: int | None = None
    """The close code of a connection that was open."""
    seconds_open: float = 0.0
    retry_after: float | None = None
    """Seconds that the peer asked us to stay away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """What went wrong since a connection was last stable."""

    failures: int = 0
    refusals: int = 0
    """Connections in a row that the peer ended as refused (1007, 1008, 1009)."""
    restarts: int = 0
    """Connections that ended because the peer goes away or restarts (1001, 1012)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows an outcome."""

    state: ClientState
    """`BACKOFF`, or `FAILED` with a slow probe."""
    delay: float
    """Seconds until the next attempt."""
    streak: Streak


def after(outcome: Outcome, streak: Streak, backoff: Backoff, uniform: Uniform) -> Verdict:
    """Decide what follows `outcome`, given what went wrong before it."""
    stable = outcome.code is not None and outcome.seconds_open >= backoff.stable_after
    before = Streak() if stable else streak
    now = _count(outcome, before)
    if _is_hopeless(outcome, now):
        probe = PROBE_SECONDS * uniform(0.8, 1.2)
        return Verdict(state=ClientState.FAILED, delay=probe, streak=now)
    quick = outcome.code in _RESTARTS and before.restarts < QUICK_RETURNS
    delay = backoff.delay(0 if quick else before.failures, uniform)
    delay += min(_asked_to_wait(outcome), RETRY_AFTER_CEILING)
    return Verdict(state=ClientState.BACKOFF, delay=delay, streak=now)


def _count(outcome: Outcome, before: Streak) -> Streak:
    refused = outcome.code in _REFUSALS
    never_open = outcome.code is None
    return Streak(
        failures=before.failures + 1,
        refusals=before.refusals + refused if refused or never_open else 0,
        restarts=before.restarts + (outcome.code in _RESTARTS),
    )


def _is_hopeless(outcome: Outcome, now: Streak) -> bool:
    refused = outcome.code in _REFUSALS and now.refusals >= MOST_REFUSALS
    return outcome.hopeless or outcome.status in _CREDENTIALS_REFUSED or refused


def _asked_to_wait(outcome: Outcome) -> float:
    """Return the seconds that a busy peer asked for; a close frame has its reason to say so."""
    if outcome.status in _BUSY:
        return max(outcome.retry_after or 0.0, 0.0)
    if outcome.code == CloseCode.TRY_AGAIN_LATER and (
        found := _RETRY_AFTER.search(outcome.reason)
    ):
        return float(found[1])
    return 0.0


class Traits(NamedTuple):
    """What of a client's row matters to a connection that is open."""

    wire: Hashable
    """Where and how it connects: only another connection can change that."""
    manner: Hashable
    """How messages are handled and recorded, and how it comes back: applied as it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do with which clients, by primary key."""

    start: frozenset[int]
    stop: frozenset[int]
    reconnect: frozenset[int]
    update: frozenset[int]


def plan(desired: Mapping[int, Traits], running: Mapping[int, Traits]) -> Plan:
    """Return what makes `running` what is `desired`."""
    both = desired.keys() & running.keys()
    reconnect = frozenset(key for key in both if desired[key].wire != running[key].wire)
    return Plan(
        start=frozenset(desired.keys() - running.keys()),
        stop=frozenset(running.keys() - desired.keys()),
        reconnect=reconnect,
        update=frozenset(
            key for key in both - reconnect if desired[key].manner != running[key].manner
        ),
    )
