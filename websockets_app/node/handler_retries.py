"""Load broken handlers again until they load, and report them for this node."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from ..core.policy import Backoff
from ..database import DatabaseThread
from ..models import LoadError
from ..recording.facts import Subject, moment, storable
from ..redaction import get_logger
from .watcher import Change

logger = get_logger(__name__)

STEP_SECONDS: Final = 0.5
BACKOFF: Final = Backoff(base=1.0, ceiling=60.0)


class Config(Protocol):
    """An endpoint or client in memory."""

    @property
    def id(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def flaw(self) -> str: ...
    @property
    def problem(self) -> str: ...
    @property
    def subject(self) -> Subject: ...


ConfigT = TypeVar("ConfigT", bound=Config)


class _Handler(NamedTuple):
    engine: str
    reference: str


@dataclass(slots=True)
class _Schedule:
    """When a broken handler is loaded again, for all rows that name it."""

    attempts: int = 0
    next_at: float = 0.0

    def note_failure(self) -> None:
        self.next_at = time.time() + BACKOFF.delay(self.attempts, random.uniform)
        self.attempts += 1


class _Report(NamedTuple):
    """What the node's row about an endpoint or client says."""

    problem: str
    since: float
    attempts: int
    next_at: float | None


class HandlerRetries(Generic[ConfigT]):
    """The broken handlers of one node. Used in its event loop only.

    `load` runs in `thread` and returns a config with its handler loaded, or with the problem why
    not; `apply` takes over the configs that changed.
    """

    def __init__(
        self,
        node_id: str,
        of: Literal["endpoint", "client"],
        thread: DatabaseThread,
        load: Callable[[ConfigT], ConfigT],
        apply: Callable[[Change[ConfigT]], Awaitable[None]],
    ) -> None:
        self.changed = asyncio.Event()
        """Set when there is something to report at once."""
        self._node_id = node_id
        self._of = of
        self._thread = thread
        self._load = load
        self._apply = apply
        self._broken: dict[int, ConfigT] = {}
        self._since: dict[int, float] = {}
        self._schedules: dict[_Handler, _Schedule] = {}
        self._reported: dict[int, _Report | None] = {}

    def note(self, change: Change[ConfigT]) -> None:
        """Take note of rows that changed, their handlers just loaded, and of those removed."""
        for key in change.removed:
            self._broken.pop(key, None)
        for key, config in change.changed.items():
            self._broken.pop(key, None)
            if config.problem:
                self._broken[key] = config
        now = time.time()
        self._since = {key: self._since.get(key, now) for key in self._broken}
        self._plan()
        self.changed.set()

    def report_anew(self) -> None:
        """Write all reports again: another node has deleted them, taking this one for lost."""
        self._reported = dict.fromkeys(self._broken)
        self.changed.set()

    async def step(self) -> None:
        """Load the handlers that are due, and write what changed."""
        now = time.time()
        for handler in [key for key, plan in self._schedules.items() if plan.next_at <= now]:
            await self._retry(handler)
        await self._report()

    async def _retry(self, handler: _Handler) -> None:
        tried = {
            key: config
            for key, config in self._broken.items()
            if not config.flaw and _handler(config) == handler
        }
        loaded = await self._thread.run(self._load_all, tried)
        if schedule := self._schedules.get(handler):
            schedule.note_failure()
        # A row that changed meanwhile was loaded with its change.
        changed = {
            key: config
            for key, config in loaded.items()
            if self._broken.get(key) is tried[key] and config.problem != tried[key].problem
        }
        for config in changed.values():
            self._log(config)
        if changed:
            await self._apply(Change(changed=changed, removed=frozenset()))

    def _load_all(self, configs: Mapping[int, ConfigT]) -> dict[int, ConfigT]:
        return {key: self._load(config) for key, config in configs.items()}

    def _plan(self) -> None:
        """Keep a schedule for each handler that another attempt may load."""
        wanted = {_handler(config) for config in self._broken.values() if not config.flaw}
        for handler in self._schedules.keys() - wanted:
            del self._schedules[handler]
        for handler in wanted - self._schedules.keys():
            self._schedules[handler] = schedule = _Schedule()
            schedule.note_failure()

    def _log(self, config: ConfigT) -> None:
        name = config.subject.name
        extra: dict[str, object] = {self._of: name}
        if config.problem:
            logger.warning("The %s %s: %s", self._of, name, config.problem, extra=extra)
        else:
            logger.info("The %s %s: its handler is loaded now", self._of, name, extra=extra)

    async def _report(self) -> None:
        now = {key: self._report_of(key, config) for key, config in self._broken.items()}
        before = self._reported
        differing = {key for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
        if differing:
            await self._thread.run(self._write, {key: now.get(key) for key in differing})
            self._reported = dict(now)

    def _report_of(self, key: int, config: ConfigT) -> _Report:
        schedule = None if config.flaw else self._schedules.get(_handler(config))
        attempts, next_at = (schedule.attempts, schedule.next_at) if schedule else (1, None)
        return _Report(config.problem, self._since[key], attempts, next_at)

    def _write(self, reports: Mapping[int, _Report | None]) -> None:
        rows = [
            LoadError(
                node_id=self._node_id,
                problem=storable(report.problem),
                since=moment(report.since),
                attempts=report.attempts,
                next_attempt_at=moment(report.next_at) if report.next_at else None,
                **{f"{self._of}_id": key},
            )
            for key, report in reports.items()
            if report is not None
        ]
        LoadError.objects.report(self._node_id, self._of, reports.keys(), rows)


def _handler(config: Config) -> _Handler:
    return _Handler(config.engine, config.reference)
