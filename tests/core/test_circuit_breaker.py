"""After one slow failure nobody asks, until there is reason to think that an answer comes."""

from __future__ import annotations

import pytest

from websockets_app.core.circuit_breaker import CircuitBreaker


@pytest.fixture
def opened() -> CircuitBreaker:
    """A breaker that one caller opened, who asked at 10 and failed at 15."""
    breaker = CircuitBreaker(5.0)
    assert breaker.may_ask(None)
    breaker.note_failure(10.0, 15.0)
    return breaker


def test_a_failure_that_made_nobody_wait_opens_nothing() -> None:
    breaker = CircuitBreaker(5.0)
    breaker.note_failure(10.0, 10.1)
    assert breaker.may_ask(None)


@pytest.mark.parametrize(("answered_at", "may_ask"), [(None, False), (15.0, False), (15.1, True)])
def test_open_it_waits_for_an_answer_that_was_asked_for_after_the_failure(
    opened: CircuitBreaker, answered_at: float | None, may_ask: bool
) -> None:
    assert opened.may_ask(answered_at) is may_ask


def test_one_caller_tries_and_the_others_do_not_wait(opened: CircuitBreaker) -> None:
    assert opened.may_ask(16.0)
    assert not opened.may_ask(16.0)
    opened.note_failure(16.0, 16.1)
    assert not opened.may_ask(16.0)
    assert opened.may_ask(17.0)
    opened.note_answer()
    assert opened.may_ask(17.0)
    assert opened.may_ask(17.0)


def test_a_caller_that_is_cancelled_leaves_the_try_to_the_next(opened: CircuitBreaker) -> None:
    assert opened.may_ask(16.0)
    opened.note_nothing()
    assert opened.may_ask(16.0)
