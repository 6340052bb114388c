"""Notice callbacks that outlive their session, and sync callbacks that no thread is free for."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final, NamedTuple

from ..conf import app_settings
from ..core.states import EventKind
from ..dispatch.pool import SyncPool
from ..recording.facts import Subject
from ..recording.recorder import Recorder
from ..redaction import get_logger
from .peers import LivePeer, Peers

logger = get_logger(__name__)

LOOK_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 10.0
"""How long a callback may run on after its session, and callbacks may wait for a thread."""
REPORT_SECONDS: Final = 60.0
"""How often the same handler, or the thread pool, is reported at most."""
NAMED_HANDLERS: Final = 3


class _Seen(NamedTuple):
    callback: int
    since: float


class _Group(NamedTuple):
    """Whose callbacks are reported together."""

    subject: Subject
    handler: str

    def __str__(self) -> str:
        kind = "client" if self.subject.client_id is not None else "endpoint"
        return f"{self.handler} of {kind} {self.subject.name}"


class CallbackWatch:
    """Counts both for the node's row, and reports them. Used in the node's event loop only."""

    def __init__(self, peers: Peers, pool: SyncPool, recorder: Recorder) -> None:
        self._peers = peers
        self._pool = pool
        self._recorder = recorder
        self._overtime: dict[LivePeer, _Seen] = {}
        """Closed peers whose callback still runs: which one, and when that was first seen."""
        self._reported: set[LivePeer] = set()
        self._reported_at: dict[_Group | None, float] = {}
        self._waiting_since: float | None = None
        self._stuck = 0
        self._waiting = 0

    def row_columns(self) -> dict[str, int]:
        """Return the columns of the node's row."""
        return {"stuck_callbacks": self._stuck, "waiting_callbacks": self._waiting}

    async def look(self) -> None:
        """Count now; report what is new."""
        now = time.monotonic()
        self._look_at_callbacks(now)
        self._look_at_threads(now)

    def _look_at_callbacks(self, now: float) -> None:
        before = self._overtime
        self._overtime = {
            peer: seen
            if (seen := before.get(peer)) and seen.callback == callback
            else _Seen(callback, now)
            for peer, callback in self._peers.busy.items()
            if peer.closed
        }
        stuck = [
            peer for peer, seen in self._overtime.items() if now - seen.since >= GRACE_SECONDS
        ]
        self._stuck = len(stuck)
        self._reported &= set(stuck)
        groups: dict[_Group, list[LivePeer]] = {}
        for peer in stuck:
            groups.setdefault(_group_of(peer), []).append(peer)
        for group, peers in groups.items():
            if not self._reported.issuperset(peers) and self._may_report(group, now):
                self._reported.update(peers)
                self._report_stuck(group, peers)

    def _report_stuck(self, group: _Group, peers: list[LivePeer]) -> None:
        latest = peers[-1]
        text = (
            f"Callbacks of {group} that still run although their session ended more than "
            f"{GRACE_SECONDS:g} s ago: {len(peers)}, the latest for session {latest.id}. A loop "
            "has to end when session.closed is true."
        )
        logger.warning("%s", text, extra=latest.log_extra())
        self._recorder.add_own(EventKind.PROBLEM, group.subject, detail=text)

    def _look_at_threads(self, now: float) -> None:
        waiting = self._pool.waiting
        if not waiting:
            self._waiting_since, self._waiting = None, 0
            return
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since < GRACE_SECONDS:
            return
        self._waiting = waiting
        if self._may_report(None, now):
            self._report_waiting(now - self._waiting_since)

    def _report_waiting(self, seconds: float) -> None:
        busy = Counter(map(_group_of, self._peers.busy)).most_common(NAMED_HANDLERS)
        named = ", ".join(f"{group} ({number})" for group, number in busy)
        text = (
            f"Sync callbacks have waited for a thread for {seconds:.0f} s, and {self._waiting} "
            f"callbacks wait now: all {app_settings.SYNC_THREADS} threads are busy, or all that "
            f"one endpoint or client may use. Handlers that run or wait, by number: "
            f"{named or 'none with an open session'}. Make them faster, or raise "
            "WEBSOCKETS['SYNC_THREADS']."
        )
        logger.warning("%s", text)
        self._recorder.add_own(EventKind.PROBLEM, detail=text)

    def _may_report(self, group: _Group | None, now: float) -> bool:
        """Tell whether `group`, or None for the threads, wasn't reported for a while."""
        self._reported_at = {
            key: at for key, at in self._reported_at.items() if now - at < REPORT_SECONDS
        }
        return self._reported_at.setdefault(group, now) == now


def _group_of(peer: LivePeer) -> _Group:
    return _Group(peer.record.subject, peer.handler.reference)
