"""A process and what it has started: some servers work in other processes than the first."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it, as they are now."""
    children = _children()
    found = [pid]
    for one in found:  # grows meanwhile
        found += children[one]
    return found


def _children() -> defaultdict[int, list[int]]:
    """Return the processes of the machine by their parents'.

    Not every kernel has `/proc/PID/task/TID/children`, which would say it at once.
    """
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            _, _, fields = stat.read_text().rpartition(")")
            children[int(fields.split()[1])].append(int(stat.parent.name))
    return children
