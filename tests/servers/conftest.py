"""Each server runs once, on a site of its own, for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.stage import KINDS, Kind, Served, Stage

EACH_KIND = [
    pytest.param(kind, id=kind.title, marks=pytest.mark.xdist_group(f"server {kind.title}"))
    for kind in KINDS
]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Stage:
    """What every server's site is a copy of."""
    return Stage.build(tmp_path_factory.mktemp("stage"), migrated_database)


@pytest.fixture(scope="session")
def running(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Kind], Served]]:
    """Start a server where it doesn't run yet."""
    started: dict[str, Served] = {}

    def run(kind: Kind) -> Served:
        if kind.title not in started:
            started[kind.title] = stage.serve(kind, tmp_path_factory.mktemp("server"))
        return started[kind.title]

    yield run
    for served in started.values():
        served.site.end()


@pytest.fixture(params=EACH_KIND)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Every server, one after the other."""
    found = request.param
    assert isinstance(found, Kind)
    return found


@pytest.fixture
def served(kind: Kind, running: Callable[[Kind], Served]) -> Served:
    """A server that runs. Tests share it: close what you open, and end nothing else."""
    return running(kind)
