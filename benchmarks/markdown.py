"""A run as a table for the documentation; a program: ``… benchmarks.markdown RESULTS.json…``.

Of several files, a later one's groups take the place of an earlier one's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.table import number


def document(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of results, as `table.as_json` writes them."""
    yield from ("| | measured | target |", "|---|---|---|")
    group = None
    for result in results:
        if result["group"] != group:
            group = result["group"]
            yield f"| **{group}** | | |"
        measured = f"{number(result['median'])} {result['unit']}"
        yield f"| {result['name']} | {measured} | {_reach(result)} |"


def _reach(result: Mapping[str, Any]) -> str:
    """Return the reach, and whether the run fell short of it."""
    told = {key: result[key] for key in ("group", "name", "unit", "at_least", "at_most")}
    reach = Figure(**told).reach
    return f"{reach}, missed" if result["falls_short"] else reach


def merged(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the results of all files."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        results = json.loads(file.read_text(encoding="utf-8"))["results"]
        groups |= {result["group"]: [] for result in results}
        for result in results:
            groups[result["group"]].append(result)
    return [result for results in groups.values() for result in results]


if __name__ == "__main__":
    print("\n".join(document(merged(map(Path, sys.argv[1:])))))
