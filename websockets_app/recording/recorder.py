"""The recorder of a node: facts go in without waiting, batches come out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from ..conf import app_settings
from ..core.states import EventKind
from ..database import DatabaseThread
from ..redaction import get_logger
from .buffer import FactBuffer
from .facts import Fact, SessionRow, Subject
from .minutes import MinuteCounters
from .peer_record import PeerRecord
from .repeats import FIRST, Occurrence, Repeats
from .writer import Batch, write_all_but_refused

logger = get_logger(__name__)

BATCH_ROWS: Final = 2000
"""So many events don't wait for the clock, and no more are written together.

Events of one peer stand together in an index: the more of them a batch has, the fewer of its pages
are written for each.
"""
MOST_SESSIONS: Final = 250
"""So many sessions' rows, which are large, and made in the event loop."""
BATCH_SECONDS: Final = 0.25
RETRY_SECONDS: Final = 1.0
COLLECT_SECONDS: Final = 5.0
"""How old the counters of minutes and open sessions are at most."""


class Recorder:
    """Keeps what happened until one writer has written it. Used in the node's event loop only.

    With the database away, facts wait in a bounded buffer; what doesn't fit is counted, and a gap
    event tells how many.
    """

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.minutes = MinuteCounters()
        self.live: set[PeerRecord] = set()
        self._mode: str = app_settings.RECORDING
        self._bound: int = app_settings.EVENT_BUFFER
        self._buffer = FactBuffer(self._bound)
        self._repeats = Repeats()
        # A small buffer is emptied before it is full.
        self._enough = min(BATCH_ROWS, self._buffer.bound // 2)
        self._refused = 0
        self._sessions: dict[str, Callable[[], SessionRow]] = {}
        self._thread = DatabaseThread("events")
        self._due = asyncio.Event()
        self._writing = asyncio.Lock()
        self._own_seq = 0
        self._failing = False
        self._collected_at = time.monotonic()

    def of_peer(
        self,
        subject: Subject,
        peer: str,
        messages: str,
        row: Callable[[], SessionRow] | None = None,
    ) -> PeerRecord:
        """Return the record of a new peer; `row` makes the session's row, where it has one."""
        return PeerRecord(self, subject, peer, messages, row)

    def add(self, fact: Fact) -> None:
        """Take a fact; nothing waits."""
        if self._mode == "off":
            return
        if self._buffer.append(fact) >= self._enough:
            self._due.set()

    def add_own(self, kind: EventKind, subject: Subject | None = None, **columns: object) -> None:
        """Take a fact that belongs to no peer: of the node, or of an endpoint or client."""
        self._own_seq += 1
        about = subject._asdict() if subject else {}
        self.add(Fact(kind=kind, at=time.time(), seq=self._own_seq, **about, **columns))  # type: ignore[arg-type]

    def is_repeat(
        self,
        kind: EventKind,
        subject: Subject,
        equal_in: str,
        occurrence: Callable[[], Occurrence],
        *,
        first: int = FIRST,
    ) -> bool:
        """Count what may happen often; return whether it isn't to be recorded and logged itself.

        The `first` equal ones in a minute are. Of the rest one event and one log line tell, when
        the minute is over, how many they were. With inline recording nothing is a repeat.
        """
        return self._mode != "inline" and self._repeats.is_repeat(
            kind, subject, equal_in, occurrence,
            now=time.monotonic(), at=time.time(), first=first,
        )  # fmt: skip

    def tell_repeats(self, now: float | None = None) -> None:
        """Record and log the repeats whose minute is over by `now`, or all of them."""
        for repeated in self._repeats.take(now):
            fact = repeated.fact(self._own_seq + 1)
            logger.log(
                repeated.example.level, "%s (%s): %s more like this within %.0f s: %s",
                fact.name or "unknown paths", fact.kind, f"{fact.repeats:,}",
                fact.at - fact.first_at, fact.detail.partition("\n")[0],
                extra={"client" if fact.client_id else "endpoint": fact.name},
            )  # fmt: skip
            if repeated.example.recorded:
                self._own_seq += 1
                self.add(fact)

    def count(self, subject: Subject, **counts: int) -> None:
        """Add to this minute's counters of an endpoint or client (`models.minute.COUNTERS`)."""
        if subject.descriptor is not None and self._mode != "off":
            self.minutes.add(subject.direction, subject.descriptor, time.time(), **counts)

    def put_session(self, key: str, row: Callable[[], SessionRow]) -> None:
        """Take note that a session has changed; `row` makes its row when it is written."""
        if self._mode == "off":
            return
        if len(self._sessions) >= self._bound and key not in self._sessions:
            del self._sessions[next(iter(self._sessions))]
            self._buffer.lost += 1
        self._sessions[key] = row

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            try:
                async with asyncio.timeout(BATCH_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                pass  # nothing hurries: the batch is as old as it may become
            self._collect_now_and_then()
            if not await self.flush(wholly=False):
                await asyncio.sleep(RETRY_SECONDS)

    async def settle(self) -> None:
        """With inline recording, write at once; otherwise leave it to the writer."""
        if self._mode == "inline":
            await self.flush()

    async def flush(self, *, wholly: bool = True) -> bool:
        """Write all that waits, or until it fills no batch; False where nothing can be written."""
        async with self._writing:
            if not self._failing:  # while it is away, losses add up to one gap
                self._tell_losses()
            while batch := self._take():
                if not await self._write(batch):
                    return False
                if not wholly and not self._fills_a_batch():
                    break  # what comes while a batch is written waits for a batch of its own
            return True

    def flush_at_exit(self) -> None:
        """Write what is left when the loop is gone: from the main thread, at the process' end."""
        self.tell_repeats()
        self._tell_losses()
        while batch := self._take():
            try:
                write_all_but_refused(batch)
            except Exception:
                lost = len(batch.facts) + len(self._buffer)
                logger.exception("%d events could not be written at exit", lost)
                return

    def stop(self) -> None:
        self._thread.stop()

    async def _write(self, batch: Batch) -> bool:
        try:
            self._refused += await self._thread.run(write_all_but_refused, batch)
        except Exception as error:  # whatever it is, it isn't the rows: those are kept
            self._put_back(batch)
            if not self._failing:
                logger.warning("Events wait: they can't be written now (%r)", error)
            self._failing = True
            return False
        except BaseException:  # cancelled between the batch's two ends: unclear, so again
            self._put_back(batch)
            raise
        if self._failing:
            self._failing = False
            self._tell_losses()
        return True

    def _fills_a_batch(self) -> bool:
        return len(self._buffer) >= BATCH_ROWS or len(self._sessions) >= MOST_SESSIONS

    def _take(self) -> Batch:
        self._due.clear()
        sessions = list(islice(self._sessions, MOST_SESSIONS))
        return Batch(
            node_id=self.node_id,
            facts=self._buffer.take(BATCH_ROWS),
            sessions={key: self._sessions.pop(key)() for key in sessions},
            minutes=self.minutes.take(),
        )

    def _tell_losses(self) -> None:
        if lost := self._buffer.take_lost():
            why = "more events came than the database could take"
            self.add_own(EventKind.GAP, lost=lost, detail=why)
        if self._refused:
            refused, self._refused = self._refused, 0
            self.add_own(EventKind.GAP, lost=refused, detail="the database refused them")

    def _put_back(self, batch: Batch) -> None:
        self._buffer.put_back(batch.facts)
        again: dict[str, Callable[[], SessionRow]] = {
            key: partial(dict, row) for key, row in batch.sessions.items()
        }
        self._sessions = again | self._sessions
        self.minutes.put_back(batch.minutes)

    def _collect_now_and_then(self) -> None:
        if time.monotonic() < self._collected_at + COLLECT_SECONDS:
            return
        self._collected_at = time.monotonic()
        self.tell_repeats(self._collected_at)
        for record in self.live:
            if record.collect() and record.row is not None:
                self.put_session(record.peer, record.row)
        self.minutes.forget_before(time.time())
