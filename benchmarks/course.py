"""The course of a run: rounds, and in each round every benchmark in turn.

So what else the machine does in the meantime meets all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Reading

Round = Callable[[], Iterable[Reading]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Something to measure: ``prepare(directory, quick)`` starts it, and gives its round."""

    name: str
    prepare: Callable[[Path, bool], AbstractContextManager[Round]]


def run(
    benchmarks: Sequence[Benchmark], directory: Path, rounds: int, *, quick: bool
) -> Iterator[Reading]:
    """Prepare the benchmarks and yield what each reads, round by round."""
    with ExitStack() as stack:
        prepared = [
            stack.enter_context(benchmark.prepare(directory / benchmark.name, quick))
            for benchmark in benchmarks
        ]
        for _ in range(rounds):
            for round_of in prepared:
                yield from round_of()
