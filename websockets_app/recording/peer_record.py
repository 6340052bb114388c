"""What is recorded of one peer: its counters, and its events in their order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..core.close_codes import may_be_sent
from ..core.states import CloseCause, EventKind, MessageRecording
from .facts import UNREDACTED, Fact, SessionRow, Subject
from .repeats import FIRST, Occurrence

if TYPE_CHECKING:
    from .recorder import Recorder

DETAIL_LIMIT: Final = 16 * 1024
"""Characters of an error's text and traceback that are kept."""

ATTEMPTS_TOLD: Final = 20
"""How many attempts of a client in a minute are recorded one by one: more than backoff makes."""

_MESSAGE: Final = EventKind.MESSAGE  # Python 3.11 takes its time to look up a member


class PeerRecord:
    """Counts and records one peer. Used in the node's event loop only."""

    __slots__ = (
        "_collected",
        "_keeps_payloads",
        "_keeps_rows",
        "_recorder",
        "_seq",
        "bytes_in",
        "bytes_out",
        "discarded",
        "messages_in",
        "messages_out",
        "peer",
        "row",
        "subject",
    )

    def __init__(
        self,
        recorder: Recorder,
        subject: Subject,
        peer: str,
        messages: str,
        row: Callable[[], SessionRow] | None,
    ) -> None:
        self._recorder = recorder
        self._seq = 0
        self._collected = (0, 0, 0, 0)
        self.subject = subject
        self.peer = peer
        self.keep(messages)
        self.row = row
        self.messages_in = 0
        self.messages_out = 0
        self.bytes_in = 0
        self.discarded = 0
        """Messages that came after the end, and that no callback saw."""
        self.bytes_out = 0

    def keep(self, messages: str) -> None:
        """Keep of each message from now on what `messages` says, one of `MessageRecording`."""
        self._keeps_rows = messages != MessageRecording.COUNTERS
        self._keeps_payloads = messages == MessageRecording.PAYLOADS

    def event(self, kind: EventKind, **columns: Any) -> None:
        """Record an event of this peer; `columns` are those of `Fact`."""
        self._seq += 1
        direction, endpoint_id, client_id, name = self.subject
        self._recorder.add(
            Fact(
                kind=kind, at=time.time(), seq=self._seq, peer=self.peer, direction=direction,
                endpoint_id=endpoint_id, client_id=client_id, name=name, **columns,
            )
        )  # fmt: skip

    def received(self, message: str | bytes, size: int) -> None:
        """Count, and record as the row says, a message of `size` bytes from the peer."""
        self.messages_in += 1
        self.bytes_in += size
        if self._keeps_rows:
            self._message(message, size, outgoing=False)

    def discard(self, size: int) -> None:
        """Count a message of `size` bytes that came after the end and isn't handled."""
        self.messages_in += 1
        self.bytes_in += size
        self.discarded += 1

    def sent(self, message: str | bytes, size: int) -> None:
        """Count, and record as the row says, a message of `size` bytes to the peer."""
        self.messages_out += 1
        self.bytes_out += size
        if self._keeps_rows:
            self._message(message, size, outgoing=True)

    def opened(self, detail: str = "") -> None:
        """Record that the peer is open."""
        self._recorder.live.add(self)
        self.event(EventKind.OPEN, detail=detail)
        self._recorder.count(self.subject, opened=1)

    def error(self, detail: str) -> None:
        """Record a failure, with its traceback, as far as that is of a length to read."""
        self.event(EventKind.ERROR, detail=detail[:DETAIL_LIMIT])
        self.count_error()

    def count_error(self) -> None:
        """Count a failure in this minute's counters."""
        self._recorder.count(self.subject, errors=1)

    def attempted(self, kind: EventKind, detail: str) -> None:
        """Record an event of an attempt to connect, but count those that follow fast."""
        if not self.is_repeat(
            kind, "attempt", lambda: detail, first=ATTEMPTS_TOLD, level=logging.INFO
        ):
            self.event(kind, detail=detail)

    def is_repeat(
        self,
        kind: EventKind,
        equal_in: str,
        detail: Callable[[], str],
        *,
        first: int = FIRST,
        level: int = logging.ERROR,
        recorded: bool = True,
    ) -> bool:
        """Count what may happen often, as `Recorder.is_repeat`, across peers of one subject."""

        def occurrence() -> Occurrence:
            return Occurrence(detail()[:DETAIL_LIMIT], level=level, recorded=recorded)

        return self._recorder.is_repeat(kind, self.subject, equal_in, occurrence, first=first)

    def closed(self, code: int | None, cause: CloseCause, reason: str) -> None:
        """Record the peer's only close event."""
        self.event(EventKind.CLOSE, code=code, cause=cause, detail=reason)
        self._recorder.count(self.subject, closed=1)
        self.collect()
        self._recorder.live.discard(self)

    def after_close(self, sent: int, answered: int | None) -> None:
        """Record what came after our close frame with the code `sent`, if that tells anything.

        `answered` is the code of the peer's own close frame, None if it isn't known. A peer that
        answers with the same code, or with none, tells nothing.
        """
        if answered is not None and (answered == sent or not may_be_sent(answered)):
            answered = None
        if self.discarded or answered is not None:
            detail = f"messages discarded: {self.discarded}"
            self.event(EventKind.AFTER_CLOSE, code=answered, detail=detail)
        self.collect()

    def collect(self) -> bool:
        """Add the messages since the last collection to this minute; tell whether any came."""
        now = (self.messages_in, self.messages_out, self.bytes_in, self.bytes_out)
        if now == self._collected:
            return False
        deltas = [new - old for new, old in zip(now, self._collected, strict=True)]
        names = ("messages_in", "messages_out", "bytes_in", "bytes_out")
        self._recorder.count(self.subject, **dict(zip(names, deltas, strict=True)))
        self._collected = now
        return True

    def _message(self, message: str | bytes, size: int, *, outgoing: bool) -> None:
        # The writer's thread hashes and redacts it: that may take longer than others can wait.
        sha256, payload = (UNREDACTED, message) if self._keeps_payloads else ("", "")
        self._seq += 1
        direction, endpoint_id, client_id, name = self.subject
        columns = (
            _MESSAGE, time.time(), self._seq, self.peer, direction, endpoint_id, client_id, name,
            None, "", "", outgoing, size, sha256, payload, None,
        )  # fmt: skip
        self._recorder.add(tuple.__new__(Fact, columns))  # as `Fact()` does, in half the time
