"""The table in the documentation: what each server can do, as it was measured."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.infrastructure.documents import Written, drawn, rows_of
from tests.infrastructure.site import REPOSITORY
from tests.servers.abilities import ABILITIES, ask
from tests.servers.stage import KINDS, Kind, Stage
from tests.servers.stopping import STOPS, stop

PART: Final = Written(
    page=REPOSITORY / "docs/reference/servers.md", program="tests.servers"
)  # fmt: skip
VERSIONS: Final = "version"

Table = dict[str, dict[str, str]]
"""Cells by the row's label and the server's title."""


def read() -> Table:
    """Return the table as it stands in the documentation."""
    (_, *titles), *rows = rows_of(PART.read())
    return {label: dict(zip(titles, cells, strict=True)) for label, *cells in rows}


def write(table: Table) -> None:
    """Put the table in the place of the one that stands in the documentation."""
    titles = [kind.title for kind in KINDS]
    rows = ([label, *(cells[title] for title in titles)] for label, cells in table.items())
    PART.write(drawn([["", *titles], *rows]))


async def measure() -> Table:
    """Start each server and ask it everything."""
    table: Table = {label: {} for label in (VERSIONS, *ABILITIES, *STOPS)}
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage.build(Path(directory) / "stage")
        for kind in KINDS:
            for label, cell in (await _column(stage, kind, Path(directory))).items():
                table[label][kind.title] = cell
    return table


async def _column(stage: Stage, kind: Kind, directory: Path) -> dict[str, str]:
    served = stage.serve(kind, directory / kind.title)
    try:
        abilities = await ask(served)
    finally:
        served.site.end()
    stopped = await stop(stage, kind, directory / f"{kind.title} stopped")
    stops = {label: tell(stopped) for label, tell in STOPS.items()}
    return {VERSIONS: kind.versions, **abilities, **stops}
