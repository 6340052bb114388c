"""The servers beside each other, for the documentation; a program: ``… RESULTS.json``.

It writes what a run of the family `servers` found into the page that helps to choose one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from benchmarks import machine
from benchmarks.families.servers import CONNECTION, MEMORY, MESSAGE, SERVERS
from tests.infrastructure.documents import Written, drawn
from tests.infrastructure.site import REPOSITORY

PART: Final = Written(
    page=REPOSITORY / "docs/topics/choosing-a-server.md", program="benchmarks.servers_page"
)
COLUMNS: Final = (MESSAGE, CONNECTION, MEMORY)
VERSIONS: Final = ("Python", "Django", "websockets", *machine.SERVERS)

Run = Mapping[str, Any]
"""What `python -m benchmarks` writes as JSON."""


def text(run: Run) -> str:
    """Return a run as its table, and the sentence that says what it was."""
    found = {(result["group"], result["name"]): result for result in run["results"]}
    rows = ([server, *(_cell(found[column, server]) for column in COLUMNS)] for server in SERVERS)
    return f"{drawn([['', *COLUMNS], *rows])}\n{_about(run)}\n"


def rounded(value: float) -> str:
    """Return two digits: a run beside another doesn't agree about more."""
    return f"{float(f'{value:.2g}'):,g}"


def _cell(result: Mapping[str, Any]) -> str:
    return f"{rounded(result['median'])} {result['unit']}"


def _about(run: Run) -> str:
    day = f"{datetime.fromisoformat(run['began']):%-d %B %Y}"
    rounds = len(run["results"][0]["values"])
    system, _, _ = run["system"].partition("-")
    versions = ", ".join(f"{name} {run[name]}" for name in VERSIONS)
    where = f"{run['cores']} cores, {run['processor']}, {system}"
    return fill(f"Measured on {day}: {where}, {versions}; medians of {rounds} rounds.", 130)


if __name__ == "__main__":
    PART.write(text(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
