"""The table of the servers: what of a run is written, and what stands in the documentation."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks import servers_page
from benchmarks.cpu import Watch, seconds_of
from benchmarks.families.servers import SERVERS
from benchmarks.process_tree import tree
from benchmarks.servers_page import COLUMNS, PART, VERSIONS
from tests.infrastructure.documents import rows_of
from tests.infrastructure.waiting import eventually


@pytest.fixture
def run() -> dict[str, Any]:
    """What a run wrote, of which every value is 1234."""
    return {
        "began": "2026-11-23T14:51:30.750110+00:00",
        "processor": "AMD EPYC",
        "cores": "2",
        "system": "Linux 6.18.1-built-here",
        **dict.fromkeys(VERSIONS, "1.2.3"),
        "results": [
            {"group": group, "name": name, "unit": "µs", "median": 1234, "values": [1, 1234, 9999]}
            for group, name in product(COLUMNS, reversed(SERVERS))
        ],
    }


@pytest.fixture
def parent() -> Iterator[int]:
    """A process that only waits for another, which is busy."""
    command = ["sh", "-c", "(while :; do :; done) & wait"]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            eventually(lambda: len(tree(process.pid)) == 2)
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_the_page_has_every_server_and_every_column() -> None:
    head, *rows = rows_of(PART.read())
    assert head == ["", *COLUMNS]
    assert [server for server, *_ in rows] == list(SERVERS)
    assert all(re.fullmatch(r"[\d.,]+ (µs|KiB)", cell) for _, *cells in rows for cell in cells)
    assert all(name in PART.read() for name in VERSIONS)


def test_a_run_is_written_into_the_page_with_what_it_was_measured_on(
    run: dict[str, Any], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PART.page.read_text())
    part = replace(PART, page=page)
    part.write(servers_page.text(run))
    _, *rows = rows_of(part.read())
    assert rows == [[server, "1,200 µs", "1,200 µs", "1,200 µs"] for server in SERVERS]
    told = " ".join(part.read().split())
    assert "Measured on 23 November 2026: 2 cores, AMD EPYC, Linux 6.18.1, Python 1.2.3," in told
    assert told.endswith("medians of 3 rounds.")
    assert page.read_text().startswith("# Choosing a server")


@pytest.mark.parametrize(
    ("value", "told"),
    [(25.99, "26"), (8.66, "8.7"), (10.04, "10"), (99.6, "100"), (805, "800"), (1_461, "1,500")],
)
def test_two_digits_are_told(value: float, told: str) -> None:
    assert servers_page.rounded(value) == told


def test_what_a_process_has_started_counts_as_its_own(parent: int) -> None:
    watch = Watch(server=parent)
    eventually(lambda: watch.stop().of("server") > 0.05)
    assert seconds_of(parent) < 0.05
