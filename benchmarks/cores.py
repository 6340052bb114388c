"""A core for the server and one for the generator: neither takes time from the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CORES: Final = sorted(os.sched_getaffinity(0))
SERVER: Final = _CORES[0]
GENERATOR: Final = _CORES[-1]


@contextmanager
def starting_on(core: int) -> Iterator[None]:
    """Let the processes that are started meanwhile, and all their threads, run on `core` alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
