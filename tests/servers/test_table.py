"""What the documentation says of each server is so, and nothing is better than it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import table
from tests.servers.abilities import ABILITIES, ask
from tests.servers.stage import KINDS, Kind, Served
from tests.servers.stopping import STOPS


async def test_what_a_server_can_do_is_what_the_documentation_says(served: Served) -> None:
    told = {label: cells[served.kind.title] for label, cells in table.read().items()}
    answers = await ask(served)
    assert answers == {label: told[label] for label in ABILITIES}, (
        "Where the answers are right, write them down: python -m tests.servers"
    )


def test_every_server_and_every_answer_is_in_the_table_with_the_versions_that_were_asked() -> None:
    told = table.read()
    assert list(told) == [table.VERSIONS, *ABILITIES, *STOPS]
    for cells in told.values():
        assert list(cells) == [kind.title for kind in KINDS]
        assert all(cells.values())


def test_a_table_that_is_written_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "servers.md"
    page.write_text(table.PART.page.read_text())
    monkeypatch.setattr(table, "PART", replace(table.PART, page=page))
    other = {label: {kind.title: kind.title for kind in KINDS} for label in ("one", "two")}
    table.write(other)
    assert table.read() == other
    assert page.read_text().startswith("# ASGI servers")


def test_a_version_is_named_by_its_packages() -> None:
    kind: Kind = KINDS[1]
    own, _, below = kind.versions.partition(", websockets ")
    assert own[0].isdigit()
    assert below[0].isdigit()
