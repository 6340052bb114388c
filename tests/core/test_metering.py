"""What limits are measured by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.metering import Stillness, TokenBucket

rates = st.floats(0.01, 1e4)
bursts = st.integers(1, 50)
pauses = st.lists(st.floats(0, 20), max_size=200)


def times(pauses: list[float], begun: float = 1e5) -> list[float]:
    now, moments = begun, []
    for pause in pauses:
        now += pause
        moments.append(now)
    return moments


@given(rates, bursts, pauses)
def test_in_no_stretch_of_time_do_more_come_through_than_rate_and_burst_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    through = [now for now in times(pauses) if bucket.take(now)]
    for first, begun in enumerate(through):
        for last in range(first, len(through)):
            allowed = burst + rate * (through[last] - begun)
            assert last - first + 1 <= allowed * (1 + 1e-9) + 1e-6
    assert bucket.taken == len(through)


@given(rates, bursts, st.integers(1, 200))
def test_whoever_keeps_to_the_rate_always_comes_through(
    rate: float, burst: int, number: int
) -> None:
    bucket = TokenBucket(rate, burst)
    assert all(bucket.take(1e5 + index * (1 + 1e-6) / rate) for index in range(number))


@given(rates, bursts, st.integers(2, 10))
def test_whoever_keeps_trying_too_fast_stays_out_and_gets_in_after_slowing_down(
    rate: float, burst: int, times_too_fast: int
) -> None:
    bucket = TokenBucket(rate, burst)
    step = 1 / (rate * times_too_fast)
    attempts = [bucket.attempt(1e5 + index * step) for index in range(6 * burst)]
    # Each attempt takes a token, and less than half of one comes back before the next.
    assert not any(attempts[2 * burst :])
    quiet = (burst + 1.001) / rate
    assert bucket.attempt(1e5 + (6 * burst - 1) * step + quiet)


@given(rates, bursts)
def test_a_full_bucket_lets_its_burst_through_at_once_and_no_more(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    assert [bucket.take(5.0) for _ in range(burst + 1)] == [True] * burst + [False]
    assert not bucket.is_full(5.0)
    assert bucket.is_full(5.0 + burst / rate * (1 + 1e-6))


def test_a_bucket_that_is_empty_fills_again_while_it_is_asked_in_vain() -> None:
    bucket = TokenBucket(1, 1)
    assert bucket.take(0)
    assert [bucket.take(now) for now in (0.25, 0.5, 0.75, 1.0)] == [False, False, False, True]


def test_stillness_begins_with_the_first_look_and_again_with_each_change() -> None:
    still = Stillness()
    looks = [(7, 10.0), (7, 12.0), (8, 13.0), (8, 13.5), (None, 14.0), (None, 20.0), (8, 21.0)]
    assert [still.seconds(value, now) for value, now in looks] == [0, 2, 0, 0.5, 0, 6, 0]
