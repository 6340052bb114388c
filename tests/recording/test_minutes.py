"""Counters by minute: absolute values of one node, written over and over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.models import Minute
from websockets_app.models.minute import COUNTERS
from websockets_app.recording.facts import moment
from websockets_app.recording.minutes import MinuteCounters, MinuteKey, write_minutes

NOON = 1_900_000_020.0 - 1_900_000_020 % 60


def row(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(name, 0) for name in COUNTERS)


def test_counts_add_up_within_their_minute() -> None:
    counters = MinuteCounters()
    counters.add("in", 1, NOON, opened=1)
    counters.add("in", 1, NOON + 59.9, opened=1, bytes_in=5)
    counters.add("in", 1, NOON + 60, closed=1)
    counters.add("out", 1, NOON, errors=1)
    assert counters.take() == {
        MinuteKey("in", 1, int(NOON)): row(opened=2, bytes_in=5),
        MinuteKey("in", 1, int(NOON) + 60): row(closed=1),
        MinuteKey("out", 1, int(NOON)): row(errors=1),
    }


def test_what_was_taken_is_taken_again_only_after_a_change_and_then_as_a_whole() -> None:
    counters = MinuteCounters()
    counters.add("in", 1, NOON, opened=1)
    counters.take()
    assert counters.take() == {}
    counters.add("in", 1, NOON, opened=1)
    assert counters.take() == {MinuteKey("in", 1, int(NOON)): row(opened=2)}


def test_what_could_not_be_written_is_taken_again_with_what_came_since() -> None:
    counters = MinuteCounters()
    counters.add("in", 1, NOON, opened=1)
    taken = counters.take()
    counters.add("in", 1, NOON, opened=1)
    counters.put_back(taken)
    assert counters.take() == {MinuteKey("in", 1, int(NOON)): row(opened=2)}


def test_minutes_that_are_over_are_forgotten_once_they_are_written() -> None:
    counters = MinuteCounters()
    counters.add("in", 1, NOON, opened=1)
    counters.forget_before(NOON + 3600)
    assert counters.take()
    counters.forget_before(NOON + 100)
    counters.add("in", 1, NOON, opened=1)
    assert counters.take() == {MinuteKey("in", 1, int(NOON)): row(opened=2)}
    counters.forget_before(NOON + 3600)
    assert not counters._counts


@given(st.lists(st.tuples(st.sampled_from(COUNTERS), st.integers(0, 300)), max_size=50))
def test_no_count_is_lost(counts: list[tuple[str, int]]) -> None:
    counters, written = MinuteCounters(), {}
    for index, (name, second) in enumerate(counts):
        counters.add("in", 1, NOON + second, **{name: 1})
        if index % 3 == 0:
            written.update(counters.take())
    written.update(counters.take())
    assert sum(map(sum, written.values())) == len(counts)


@pytest.mark.django_db
def test_writing_twice_changes_nothing() -> None:
    counts = {MinuteKey("in", 1, int(NOON)): row(opened=3, bytes_in=2**40)}
    for _ in range(2):
        write_minutes("node", counts)
    write_minutes("other node", counts)
    write_minutes("node", {})
    assert Minute.objects.count() == 2
    written = Minute.objects.get(node_id="node")
    assert (written.opened, written.bytes_in) == (3, 2**40)
    assert written.minute == moment(NOON)
