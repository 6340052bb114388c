"""SIGTERM while sessions are open, on each server."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.infrastructure.waiting import SCALE
from tests.servers import table
from tests.servers.stage import Kind, Stage, nodes_of
from tests.servers.stopping import STOPS, stop


async def test_a_server_that_stops_ends_each_session_once_and_leaves_nothing_open(
    stage: Stage, kind: Kind, tmp_path: Path
) -> None:
    if kind.hangs:
        pytest.skip(kind.hangs)
    stopped = await stop(stage, kind, tmp_path / "site")
    for peer in stopped.peers:
        row = peer.row_if_closed()
        assert row is not None
        assert row["close_cause"] == "shutdown"
        assert peer.close_events() == [(row["close_code"], "shutdown")]
        closes = [note for note in peer.notes() if note.startswith("close")]
        assert closes == [f"close {row['close_code']}"]
    assert any(note.startswith("awake") for note in stopped.brief.notes())  # it had its time
    assert not any(note.startswith("awake") for note in stopped.stuck.notes())
    nodes = [(node["server"], node["state"]) for node in nodes_of(stopped.served.site)]
    name = kind.packages[0]
    assert nodes == [(name, "stopped")] * (2 if kind.workers else 1)
    # Uvicorn, in one process, ends by the very signal when it is done.
    assert stopped.status in {0, -signal.SIGTERM}
    assert stopped.seconds < 8 * SCALE
    told = {label: table.read()[label][kind.title] for label in STOPS}
    assert {label: tell(stopped) for label, tell in STOPS.items()} == told
