"""When a figure falls short, and how the readings of several rounds become one row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import Figure, Reading, Result, results_of
from benchmarks.markdown import document, merged
from benchmarks.table import as_json, table

SPEED = Figure(group="The outbox", name="through it", unit="/s", at_least=1_000)
SHARE = Figure(group="The outbox", name="the peer", unit="%", at_most=50)
PLAIN = Figure(group="Something else", name="for the record", unit="ms")


def read(figure: Figure, *values: float) -> Result:
    (result,) = results_of(Reading(figure=figure, value=value) for value in values)
    return result


@pytest.mark.parametrize(
    ("figure", "values", "short"),
    [
        (SPEED, (999.9,), True),
        (SPEED, (1_000,), False),
        (SPEED, (10, 1_001, 2_000), False),  # the median counts, not the worst
        (SPEED, (10, 999, 2_000), True),
        (SHARE, (50,), False),
        (SHARE, (50.1,), True),
        (PLAIN, (0,), False),
    ],
)
def test_a_row_falls_short_by_its_median(
    figure: Figure, values: tuple[float, ...], short: bool
) -> None:
    assert read(figure, *values).falls_short is short


def test_a_figure_tells_its_reach() -> None:
    assert [figure.reach for figure in (SPEED, SHARE, PLAIN)] == ["≥ 1,000", "≤ 50", ""]


def test_readings_of_all_rounds_come_together_in_the_order_of_the_first() -> None:
    results = results_of(
        [
            Reading(figure=SPEED, value=1, aside={"runner {:.0f} %": 10}),
            Reading(figure=PLAIN, value=2),
            Reading(figure=SPEED, value=3, aside={"runner {:.0f} %": 30}),
        ]
    )
    assert [(result.figure, result.values) for result in results] == [
        (SPEED, (1, 3)),
        (PLAIN, (2,)),
    ]
    assert results[0].aside == {"runner {:.0f} %": 20}


def test_the_table_shows_each_figure_beside_its_reach() -> None:
    readings = [
        Reading(figure=SPEED, value=1234.5, aside={"runner {:.0f} %": 61.3}),
        Reading(figure=SHARE, value=66.6),
        Reading(figure=PLAIN, value=0.12345),
    ]
    head, *lines = table(results_of(readings)).splitlines()
    assert head.split() == [
        "median",
        "unit",
        "reach",
        "lowest",
        "highest",
        "generator",
        "with",
        "it",
    ]
    assert [line.split() for line in lines] == [
        [],
        ["The", "outbox"],
        ["through", "it", "1,234", "/s", "≥", "1,000", "1,234", "1,234", "runner", "61", "%"],
        ["the", "peer", "66.6", "%", "≤", "50", "66.6", "66.6", "SHORT"],
        [],
        ["Something", "else"],
        ["for", "the", "record", "0.123", "ms", "0.123", "0.123"],
    ]
    at = head.index("reach")
    assert lines[2].index("≥ 1,000") <= at < lines[2].index("≥ 1,000") + len("≥ 1,000")


def test_json_has_every_value_and_the_verdict() -> None:
    (written,) = as_json([read(SPEED, 900, 1_100, 950)])
    assert written["values"] == (900, 1_100, 950)
    assert written["median"] == 950
    assert written["at_least"] == 1_000
    assert written["falls_short"] is True


def test_the_documentations_table_has_the_latest_of_each_group(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"results": as_json([read(SPEED, 900), read(PLAIN, 2)])}))
    second.write_text(json.dumps({"results": as_json([read(SHARE, 12)])}))
    assert list(document(merged([first, second])))[2:] == [
        "| **The outbox** | | |",
        "| the peer | 12 % | ≤ 50 |",
        "| **Something else** | | |",
        "| for the record | 2 ms |  |",
    ]
    assert "| through it | 900 /s | ≥ 1,000, missed |" in document(merged([first]))
