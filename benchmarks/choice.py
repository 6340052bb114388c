"""All benchmarks, and those that a command line names."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import outbox
from benchmarks.course import Benchmark
from benchmarks.families import (
    connects,
    database_away,
    echo,
    fan_out,
    many_endpoints,
    many_sessions,
    memory,
    recorder,
    recording,
    servers,
    sync_handlers,
)

BENCHMARKS: tuple[Benchmark, ...] = (
    *echo.BENCHMARKS,
    *sync_handlers.BENCHMARKS,
    *recording.BENCHMARKS,
    *recorder.BENCHMARKS,
    *connects.BENCHMARKS,
    *memory.BENCHMARKS,
    *fan_out.BENCHMARKS,
    *many_endpoints.BENCHMARKS,
    *many_sessions.BENCHMARKS,
    *database_away.BENCHMARKS,
    *outbox.BENCHMARKS,
    *servers.BENCHMARKS,
)


class UnknownName(ValueError):
    """No benchmark begins so."""


def chosen(names: Sequence[str], among: Sequence[Benchmark]) -> list[Benchmark]:
    """Return the benchmarks whose names begin as one of `names` does.

    Without names, return all but those that run by their names alone.
    """
    for name in names:
        if not any(benchmark.name.startswith(name) for benchmark in among):
            known = ", ".join(benchmark.name for benchmark in among)
            raise UnknownName(f"There is no benchmark {name!r}; there are {known}.")
    if not names:
        return [benchmark for benchmark in among if not benchmark.only_by_name]
    return [benchmark for benchmark in among if benchmark.name.startswith(tuple(names))]
