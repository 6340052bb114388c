"""`python -m benchmarks`: what it runs, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import cpu
from benchmarks.__main__ import main
from benchmarks.choice import BENCHMARKS
from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading


class Fake:
    """A benchmark that reads the same value in every round, and keeps what happened to it."""

    def __init__(
        self,
        name: str,
        value: float,
        generator: float | None = None,
        *,
        only_by_name: bool = False,
    ) -> None:
        self.happened: list[str] = []
        self.figure = Figure(group=name, name="speed", unit="/s", at_least=100)
        self.value = value
        self.generator = generator
        self.benchmark = Benchmark(name=name, prepare=self.prepare, only_by_name=only_by_name)

    @contextmanager
    def prepare(self, directory: Path, quick: bool) -> Iterator[Round]:
        self.happened.append(f"prepared in {directory.name}{', quick' if quick else ''}")
        yield self.round
        self.happened.append("ended")

    def round(self) -> Iterator[Reading]:
        self.happened.append("round")
        yield Reading(figure=self.figure, value=self.value, generator=self.generator)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "somewhere" / "results.json"


def run(written: Path, *fakes: Fake, arguments: str = "") -> int:
    among = [fake.benchmark for fake in fakes]
    return main([*arguments.split(), "--json", str(written)], among)


def test_it_ends_with_0_where_every_row_comes_to_its_reach(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written, Fake("one", 100)) == 0
    assert "≥ 100" in capsys.readouterr().out
    (result,) = json.loads(written.read_text())["results"]
    assert result["values"] == [100] * 5
    assert written.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_it_ends_with_1_and_names_the_rows_that_fall_short(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written, Fake("fast", 100), Fake("slow", 99)) == 1
    assert capsys.readouterr().err == "SHORT: slow: speed\n"


def test_it_ends_with_1_where_the_generator_had_no_time_to_spare(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written, Fake("echo", 100, generator=89), Fake("busy", 100, generator=91)) == 1
    assert capsys.readouterr().err == "INVALID: busy: speed\n"


def test_a_benchmark_that_fails_leaves_what_others_read_and_ends_with_1(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Fake("broken", 100)
    broken.round = lambda: iter([Reading(figure=broken.figure, value=1 / 0)])  # type: ignore[method-assign]
    assert run(written, broken, Fake("whole", 100)) == 1
    told = capsys.readouterr().err
    assert told.startswith("FAILED: broken:")
    assert "ZeroDivisionError" in told
    assert [row["group"] for row in json.loads(written.read_text())["results"]] == ["whole"]


def test_names_choose_by_how_they_begin(written: Path) -> None:
    fakes = [Fake("outbox-one", 100), Fake("outbox-two", 100), Fake("echo", 1)]
    assert run(written, *fakes, arguments="outbox --rounds 2") == 0
    assert fakes[0].happened == ["prepared in outbox-one", "round", "round", "ended"]
    assert fakes[2].happened == []


def test_what_runs_by_its_name_alone_is_left_out_where_there_are_no_names(written: Path) -> None:
    fakes = [Fake("echo", 100), Fake("servers", 100, only_by_name=True)]
    run(written, *fakes)
    assert [bool(fake.happened) for fake in fakes] == [True, False]
    run(written, *fakes, arguments="servers")
    assert fakes[1].happened


def test_quick_is_one_round(written: Path) -> None:
    fake = Fake("one", 100)
    run(written, fake, arguments="--quick")
    assert fake.happened == ["prepared in one, quick", "round", "ended"]


def test_an_unknown_name_is_refused_with_those_that_there_are(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(written, Fake("one", 100), arguments="two")
    assert ended.value.code == 2
    assert "There is no benchmark 'two'; there are one." in capsys.readouterr().err


def test_no_two_benchmarks_have_one_name() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert len(set(names)) == len(names)


def test_help_names_every_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "500")  # argparse would break a name at its hyphen
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(benchmark.name in told for benchmark in BENCHMARKS)


def test_a_watch_tells_what_this_process_uses() -> None:
    watch = cpu.Watch(me=os.getpid())
    before = cpu.seconds_of(os.getpid())
    while cpu.seconds_of(os.getpid()) < before + 0.05:
        pass
    used = watch.stop()
    assert 0.05 <= used.of("me") <= used.seconds + 0.01
    assert used.percent("me") > 0
    assert used.of("machine") > 0
