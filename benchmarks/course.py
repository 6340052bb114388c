"""The course of a run: one benchmark after the other, each in rounds.

What a figure compares is measured in one round, by turns, so what else the machine does in the
meantime meets all of it. The servers of one benchmark don't disturb another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Reading

Round = Callable[[], Iterable[Reading]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Something to measure: ``prepare(directory, quick)`` starts it, and gives its round."""

    name: str
    prepare: Callable[[Path, bool], AbstractContextManager[Round]]
    only_by_name: bool = False
    """Whether no run has it but one that names it: nothing is to be reached, and it takes long."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A benchmark that broke off, and why."""

    name: str
    error: Exception


def run(
    benchmarks: Sequence[Benchmark], directory: Path, rounds: int, *, quick: bool
) -> Iterator[Reading | Failure]:
    """Prepare each benchmark in turn and yield what it reads, round by round.

    One that fails doesn't take with it what the others have read, or will.
    """
    for benchmark in benchmarks:
        try:
            with benchmark.prepare(directory / benchmark.name, quick) as round_of:
                for _ in range(rounds):
                    yield from round_of()
        except Exception as error:
            yield Failure(name=benchmark.name, error=error)
