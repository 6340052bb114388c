"""When clients come back, when they give up, and what a changed row means."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.policy import (
    FLOOR_SECONDS,
    PROBE_SECONDS,
    RETRY_AFTER_CEILING,
    Backoff,
    Outcome,
    Plan,
    Streak,
    Traits,
    Verdict,
    after,
    plan,
)
from websockets_app.core.states import ClientState

BACKOFF = Backoff()


def largest(low: float, high: float) -> float:
    return high


def smallest(low: float, high: float) -> float:
    return low


def follow(*outcomes: Outcome, backoff: Backoff = BACKOFF) -> list[Verdict]:
    """Return the verdicts of one client's life, at the largest delay each."""
    verdicts: list[Verdict] = []
    streak = Streak()
    for outcome in outcomes:
        verdicts.append(after(outcome, streak, backoff, largest))
        streak = verdicts[-1].streak
    return verdicts


def failed_attempt(**about: object) -> Outcome:
    return Outcome(reason="refused", **about)  # type: ignore[arg-type]


def closed(code: int, seconds_open: float = 0.0, reason: str = "closed") -> Outcome:
    return Outcome(reason=reason, code=code, seconds_open=seconds_open)


def test_delays_double_up_to_the_ceiling() -> None:
    delays = [verdict.delay for verdict in follow(*[failed_attempt()] * 8)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_no_attempt_follows_another_sooner_than_the_floor() -> None:
    assert after(failed_attempt(), Streak(), BACKOFF, smallest).delay == FLOOR_SECONDS
    instant = Backoff(base=0.0, ceiling=0.0)
    assert after(failed_attempt(), Streak(), instant, largest).delay == FLOOR_SECONDS


@given(failures=st.integers(0, 10_000), seed=st.integers())
def test_every_delay_lies_between_floor_and_ceiling(failures: int, seed: int) -> None:
    delay = BACKOFF.delay(failures, random.Random(seed).uniform)
    assert FLOOR_SECONDS <= delay <= BACKOFF.ceiling


def test_a_peer_that_accepts_and_then_closes_gets_backoff() -> None:
    verdicts = follow(*[closed(1000, seconds_open=5)] * 5)
    assert [verdict.delay for verdict in verdicts] == [1, 2, 4, 8, 16]


def test_a_stable_connection_starts_the_backoff_anew() -> None:
    *_, verdict = follow(*[failed_attempt()] * 6, closed(1006, seconds_open=30))
    assert verdict.delay == 1
    assert verdict.streak.failures == 1


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_fail_with_a_slow_probe(status: int) -> None:
    verdict = after(failed_attempt(status=status), Streak(), BACKOFF, smallest)
    assert verdict.state == ClientState.FAILED
    assert verdict.delay == PROBE_SECONDS * 0.8


def test_what_is_hopeless_fails() -> None:
    assert after(failed_attempt(hopeless=True), Streak(), BACKOFF, largest).state == "failed"


@pytest.mark.parametrize("status", [404, 500, 502])
def test_other_statuses_back_off(status: int) -> None:
    assert after(failed_attempt(status=status), Streak(), BACKOFF, largest).state == "backoff"


def test_three_refusals_in_a_row_fail() -> None:
    states = [verdict.state for verdict in follow(closed(1008), closed(1007), closed(1009))]
    assert states == ["backoff", "backoff", "failed"]


def test_an_attempt_that_opened_nothing_does_not_break_the_row() -> None:
    states = [
        verdict.state
        for verdict in follow(closed(1008), closed(1008), failed_attempt(), closed(1008))
    ]
    assert states == ["backoff", "backoff", "backoff", "failed"]


def test_refusals_with_something_else_between_them_back_off() -> None:
    *_, verdict = follow(closed(1008), closed(1008), closed(1000), closed(1008))
    assert verdict.state == "backoff"


def test_a_refusal_now_and_then_after_stable_times_is_no_row() -> None:
    *_, verdict = follow(*[closed(1008, seconds_open=3600)] * 5)
    assert verdict.state == "backoff"


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_and_bounded(status: int) -> None:
    (asked,) = follow(failed_attempt(status=status, retry_after=120.0))
    assert asked.delay == 121
    (greedy,) = follow(failed_attempt(status=status, retry_after=1e9))
    assert greedy.delay == RETRY_AFTER_CEILING + 1
    (late,) = follow(failed_attempt(status=status, retry_after=-5.0))
    assert late.delay == 1


def test_retry_after_of_another_status_is_ignored() -> None:
    (verdict,) = follow(failed_attempt(status=500, retry_after=120.0))
    assert verdict.delay == 1


def test_try_again_later_may_say_when() -> None:
    (verdict,) = follow(closed(1013, reason="the peer closed (1013): Retry-After: 20"))
    assert verdict.delay == 21


@pytest.mark.parametrize("code", [1001, 1012])
def test_we_come_back_quickly_to_a_peer_that_restarts_but_not_for_ever(code: int) -> None:
    *_, restarted = follow(*[failed_attempt()] * 5, closed(code, seconds_open=2))
    assert restarted.delay == 1
    delays = [verdict.delay for verdict in follow(*[closed(code)] * 5)]
    assert delays == [1, 1, 1, 8, 16]


def traits(wire: str = "here", manner: str = "so") -> Traits:
    return Traits(wire=wire, manner=manner)


def test_the_plan_makes_what_runs_what_is_desired() -> None:
    desired = {
        1: traits(),
        2: traits(),
        3: traits(wire="elsewhere"),
        4: traits(manner="otherwise"),
        5: traits(wire="elsewhere", manner="otherwise"),
    }
    running = {2: traits(), 3: traits(), 4: traits(), 5: traits(), 6: traits()}
    assert plan(desired, running) == Plan(
        start=frozenset({1}),
        stop=frozenset({6}),
        reconnect=frozenset({3, 5}),
        update=frozenset({4}),
    )
