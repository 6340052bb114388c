"""Starts generators, each on the core that is theirs, and reads what they answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from benchmarks import cores
from benchmarks.generator.load import Load, Work
from tests.infrastructure.site import REPOSITORY

PATIENCE_SECONDS: Final = 300.0


class GeneratorFailed(Exception):
    """The generator could not do what it was told; it says why."""


def run(job: str, loads: Sequence[Load], slices: int) -> list[list[Work]]:
    """Let a generator do a job of `jobs.JOBS` for each load, in `slices` turns.

    Returns what it found for each load, slice by slice.
    """
    with _started(job, loads, slices) as process:
        output, complaint = process.communicate(timeout=PATIENCE_SECONDS)
        if process.returncode != 0:
            raise GeneratorFailed(_told(job, loads, complaint))
    return [[Work(**work) for work in of_load] for of_load in json.loads(output)]


@contextmanager
def holding(load: Load) -> Iterator[None]:
    """Keep idle connections open meanwhile."""
    with _started("hold", [load]) as process:
        assert process.stdout is not None
        opened = process.stdout.readline()
        try:
            if opened:
                yield
        finally:
            _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
        if process.returncode != 0:
            raise GeneratorFailed(_told("hold", [load], complaint))


@contextmanager
def _started(job: str, loads: Sequence[Load], slices: int = 0) -> Iterator[subprocess.Popen[str]]:
    told = json.dumps([asdict(load) for load in loads])
    with cores.starting_on(cores.GENERATOR):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generator", job, str(slices), told],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _told(job: str, loads: Sequence[Load], complaint: str) -> str:
    urls = ", ".join(load.url for load in loads)
    return f"{job} at {urls}: {complaint.strip()[-2000:]}"
