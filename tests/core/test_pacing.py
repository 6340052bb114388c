"""Moments are spread evenly, and no two processes keep step."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.pacing import moments


def test_each_has_an_equal_part_and_comes_somewhere_in_it() -> None:
    chances = iter([0.0, 0.5, 0.75, 0.25])
    assert list(moments(4, 8.0, lambda: next(chances))) == [0.0, 3.0, 5.5, 6.5]


@given(st.integers(0, 300), st.floats(0, 1e5), st.randoms(use_true_random=False))
def test_moments_are_in_order_within_the_time_and_never_crowd(
    number: int, seconds: float, random: object
) -> None:
    found = list(moments(number, seconds, random.random))  # type: ignore[attr-defined]
    assert len(found) == number
    assert all(before <= after for before, after in pairwise(found))
    assert all(0 <= moment <= seconds for moment in found)
    part = seconds / max(number, 1)
    # In no stretch of time as long as three parts are there more than four.
    assert all(
        after - before >= part * 2.999 for before, after in zip(found, found[4:], strict=False)
    )


def test_nothing_to_do_takes_no_time() -> None:
    assert list(moments(0, 10.0, lambda: 0.5)) == []
    assert list(moments(2, 0.0, lambda: 0.5)) == [0.0, 0.0]
