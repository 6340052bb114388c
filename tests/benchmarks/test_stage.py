"""A smoke run: real servers, a real generator, and a word with each kind of contender."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cores, cpu
from benchmarks.__main__ import main
from benchmarks.families import idle, memory
from benchmarks.figures import Figure
from benchmarks.generator import driver
from benchmarks.process_tree import tree
from benchmarks.stage import BARE, CHANNELS, OURS, Running, loads, measure, stage

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("benchmarks")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    with stage(tmp_path_factory.mktemp("benchmarks") / "smoke", "uvicorn") as it:
        yield {one.name: it.start(one) for one in (OURS, CHANNELS, BARE)}


def test_servers_have_a_core_and_the_generator_another(running: dict[str, Running]) -> None:
    for one in running.values():
        assert os.sched_getaffinity(one.server.pid) == {cores.SERVER}
    assert os.sched_getaffinity(0) >= {cores.SERVER, cores.GENERATOR}


def test_every_contender_answers_and_tells_what_that_cost(running: dict[str, Running]) -> None:
    works = measure("talk", loads(running.values(), 5, idle=2, in_flight=2, seconds=0.05), 2)
    assert works.keys() == {"ours", "Channels", "bare"}
    for work in works.values():
        assert work.done >= 6
        assert 0 < work.server_cpu <= work.seconds * 1.1
        assert 0 < work.p50 <= work.p99 <= work.seconds
        assert 0 < work.generator < 200


def test_what_is_recorded_counts_as_well(running: dict[str, Running]) -> None:
    ours = running["ours"]
    work = ours.whole("arrive", 8)
    assert work.done == 8
    assert ours.value("SELECT count(*) FROM websockets_app_session WHERE closed_at IS NULL") == 0
    assert running["bare"].whole("arrive", 8).server_cpu > 0


def test_a_broadcast_reaches_everybody(running: dict[str, Running]) -> None:
    rooms = [running[name].at("room") for name in ("ours", "Channels")]
    works = measure("listen", loads(rooms, 4, message="3", times=3), 1)
    assert [work.done for work in works.values()] == [12, 12]


def test_idle_connections_stay_open_meanwhile(running: dict[str, Running]) -> None:
    bare = running["bare"]
    with driver.holding(bare.load(20)):
        files = Path(f"/proc/{bare.server.pid}/fd")
        held = len(list(files.iterdir()))
        assert held >= 20
    assert memory.kib(bare.server.pid) > 1_000


def test_what_idle_servers_use_is_compared_in_the_same_stretch_of_time(
    running: dict[str, Running],
) -> None:
    figure = Figure(group="", name="", unit="%")
    reading = idle.beyond(figure, running["bare"], running["ours"], quick=True)
    ours, bare = reading.aside["{:.2f} %"], reading.aside["beside {:.2f} %"]
    assert reading.value == pytest.approx(ours - bare)
    assert 0 < ours < 100
    assert 0 < bare < 100


def test_a_server_whose_worker_is_another_process_is_measured_there(tmp_path: Path) -> None:
    with stage(tmp_path / "worker", "Granian") as it:
        granian = it.start(OURS)
        first = granian.server.pid
        before = cpu.seconds_of(first)
        (work,) = measure("talk", loads([granian], 5, seconds=0.2), 1).values()
        assert work.server_cpu > 10 * (cpu.seconds_of(first) - before)
        assert memory.kib(first) > sum(map(memory.kib, tree(first)[1:])) > 1_000


def test_a_family_runs_as_a_command(tmp_path: Path) -> None:
    written = tmp_path / "results.json"
    status = main(["--quick", "recorder-sqlite", "--json", str(written)])
    (result,) = json.loads(written.read_text())["results"]
    assert result["median"] > 0
    assert status == result["falls_short"]


def test_a_connection_that_the_server_refuses_is_no_figure(running: dict[str, Running]) -> None:
    nowhere = running["ours"].at("nowhere")
    with pytest.raises(driver.GeneratorFailed, match="404"):
        measure("talk", {"nowhere": nowhere.load(1)}, 1)


def test_a_connection_that_the_server_closes_is_no_figure(running: dict[str, Running]) -> None:
    room = running["Channels"].at("room")
    with pytest.raises(driver.GeneratorFailed, match="ServerClosed"):
        measure("talk", {"room": replace(room.load(1), message="not a number")}, 1)
