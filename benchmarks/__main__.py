"""``python -m benchmarks [NAME…]``: measure, print, write JSON and a plot.

Ends with 1 where a row falls short, or where the generator, not the server, may be what limits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import choice, course, machine, plot
from benchmarks.choice import BENCHMARKS
from benchmarks.course import Benchmark, Failure
from benchmarks.figures import Reading, Result, results_of
from benchmarks.table import as_json, table

ROUNDS = 5
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None, among: Sequence[Benchmark] = BENCHMARKS) -> int:
    """Run what the command line says, and return the exit status."""
    parser = _parser(among)
    options = parser.parse_args(arguments)
    try:
        benchmarks = choice.chosen(options.names, among)
    except choice.UnknownName as error:
        parser.error(str(error))
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        about = {"began": began.isoformat(), **machine.description(Path(directory))}
        print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
        rounds = options.rounds or (1 if options.quick else ROUNDS)
        read = course.run(benchmarks, Path(directory), rounds, quick=options.quick)
        failures: list[Failure] = []
        results = results_of(_told(read, failures))
    path = options.json or RESULTS / f"{began:%Y-%m-%dT%H%M%S}.json"
    return max(report(results, about, path), 1 if failures else 0)


def report(results: Sequence[Result], about: Mapping[str, str], path: Path) -> int:
    """Print the table, write JSON and plot; return 1 where a row is not as it should be."""
    print(f"\n{table(results)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**about, "results": as_json(results)}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = path.with_suffix(".png")
    title = f"{about['began']:.16}, {about['processor']}, Python {about['Python']}"
    plot.draw(results, title, picture)
    print(f"\nWritten to {path} and {picture}")
    wrong = [result for result in results if result.verdict]
    for result in wrong:
        print(f"{result.verdict}: {result.figure.group}: {result.figure.name}", file=sys.stderr)
    return 1 if wrong else 0


def _parser(among: Sequence[Benchmark]) -> ArgumentParser:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = ", ".join(benchmark.name for benchmark in among)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"how its name begins, of {known}; default: all that have something to reach",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round: it shows a fall, not a percent"
    )
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, or 1 with --quick")
    parser.add_argument("--json", type=Path, help=f"where to write; default: in {RESULTS}")
    return parser


def _told(read: Iterable[Reading | Failure], failures: list[Failure]) -> Iterator[Reading]:
    """Tell on the way what was read, since a run takes minutes; put failures aside."""
    for one in read:
        if isinstance(one, Failure):
            failures.append(one)
            print(f"FAILED: {one.name}:", file=sys.stderr)
            traceback.print_exception(one.error)
        else:
            figure = one.figure
            print(f"… {figure.group}: {figure.name}: {one.value:,.3g} {figure.unit}", flush=True)
            yield one


if __name__ == "__main__":
    sys.exit(main())
