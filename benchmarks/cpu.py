"""CPU time, as the kernel counts it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.process_tree import tree

_SCHEDULED = 2  # CPUCLOCK_SCHED of the kernel: the time that a process has run
_TICK = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """Return the CPU time of a process, all its threads together, those that ended included.

    The kernel counts it in nanoseconds, where `/proc` tells hundredths of a second.
    """
    return time.clock_gettime(~pid << 3 | _SCHEDULED)  # what clock_getcpuclockid(3) returns


def busy_seconds() -> float:
    """Return the time that all cores of the machine have been busy, with whatever."""
    user, nice, system, _idle, _iowait, *rest = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(rest)) / _TICK


class Used(NamedTuple):
    """What was used in a stretch of time."""

    seconds: float
    cpu: Mapping[str, float]

    def of(self, name: str) -> float:
        """Return the CPU seconds of a process, or of the machine."""
        return self.cpu[name]

    def percent(self, name: str) -> float:
        """Return the share of one core that a process had, or of all cores for the machine."""
        cores = (os.cpu_count() or 1) if name == "machine" else 1
        return 100 * self.cpu[name] / self.seconds / cores


class Watch:
    """Tells what processes, each with those it has started, and the whole machine use from now on.

    Processes that they start later aren't counted.
    """

    def __init__(self, **pids: int) -> None:
        self._trees = {name: tree(pid) for name, pid in pids.items()}
        self._began = time.monotonic()
        self._before = self._now()

    def stop(self) -> Used:
        now, seconds = self._now(), time.monotonic() - self._began
        return Used(seconds, {name: now[name] - self._before[name] for name in now})

    def _now(self) -> dict[str, float]:
        processes = {name: sum(map(seconds_of, pids)) for name, pids in self._trees.items()}
        return processes | {"machine": busy_seconds()}
