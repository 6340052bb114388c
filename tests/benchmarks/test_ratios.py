"""What is read of two contenders' work, and how far a reading is beyond its reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import plot, ratios
from benchmarks.figures import Figure, Reading, results_of
from benchmarks.generator.load import Work, median

FIGURE = Figure(group="Echo", name="beside another", unit="")


def work(micros: float, *, generator: float = 10.0, seconds: float = 2.0) -> Work:
    """Return a thousand messages, each of so many microseconds of the server's."""
    return Work(
        done=1_000,
        seconds=seconds,
        server_cpu=micros / 1e3,
        generator_cpu=seconds * generator / 100,
    )


def test_work_tells_what_each_cost_how_many_came_and_what_the_generator_had() -> None:
    done = work(25, generator=40, seconds=4)
    assert done.micros == pytest.approx(25)
    assert done.rate == 250
    assert done.generator == pytest.approx(40)


def test_the_median_of_work_is_the_one_that_cost_the_middle() -> None:
    works = [work(90), work(20), work(30)]
    assert median(works) is works[2]


@pytest.mark.parametrize(
    ("ratio", "one", "other", "value"),
    [
        (ratios.less_cpu, 20, 100, 5),
        (ratios.percent_of, 20, 16, 80),
        (ratios.lost, 20, 25, 20),
        (ratios.lost, 25, 20, -25),
        (ratios.percent_more, 20, 25, 25),
    ],
)
def test_a_ratio_compares_what_each_cost(
    ratio: Callable[[Figure, Work, Work], Reading], one: float, other: float, value: float
) -> None:
    assert ratio(FIGURE, work(one), work(other)).value == pytest.approx(value)


def test_what_blocks_is_compared_by_its_rate() -> None:
    reading = ratios.faster(FIGURE, work(20, seconds=1), work(20, seconds=30))
    assert reading.value == pytest.approx(30)


def test_a_reading_tells_the_generators_share_where_it_had_the_most_to_do() -> None:
    reading = ratios.less_cpu(FIGURE, work(20, generator=60), work(90, generator=15))
    assert reading.generator == pytest.approx(60)


@pytest.mark.parametrize(
    ("figure", "value", "margin"),
    [
        (Figure(group="", name="", unit="", at_least=4), 8, 2),
        (Figure(group="", name="", unit="", at_least=4), 1, 0.25),
        (Figure(group="", name="", unit="", at_most=4), 8, 0.5),
        (Figure(group="", name="", unit="", at_most=4), 1, 4),
        (Figure(group="", name="", unit="", at_most=4), -1, plot.BOUNDS[1]),
        (Figure(group="", name="", unit="", at_most=0), 0, plot.BOUNDS[1]),
        (Figure(group="", name="", unit="", at_most=0), 3, plot.BOUNDS[0]),
        (Figure(group="", name="", unit="", at_least=1), 99, plot.BOUNDS[1]),
        (Figure(group="", name="", unit=""), 99, None),
    ],
)
def test_the_plot_shows_a_figure_as_a_multiple_of_its_reach(
    figure: Figure, value: float, margin: float | None
) -> None:
    (result,) = results_of([Reading(figure=figure, value=value)])
    assert plot.margin(result) == margin
