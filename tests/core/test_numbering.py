"""What senders number and never arrives is counted; what is only late isn't."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core import numbering
from websockets_app.core.numbering import LONGEST_SENDER, WIDEST_GAP, Numbering


def after(*numbers: int, sender: str = "a") -> Numbering:
    heard = Numbering()
    for number in numbers:
        heard.note(sender, number)
    return heard


def settled(heard: Numbering) -> int:
    """Return what is lost once nothing is on its way any more."""
    heard.lost()
    return heard.lost()


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ((), 0),
        ((7,), 0),  # who comes later begins to count there
        ((1, 2, 3), 0),
        ((1, 2, 5), 2),
        ((1, 5, 2, 4, 3), 0),
        ((3, 2, 1, 4), 0),
        ((1, 3, 3), 0),  # a duplicate, which layers make at times, hides a loss
        ((1, 1 + WIDEST_GAP), WIDEST_GAP - 1),
        ((1, 2 + WIDEST_GAP), 0),  # forged
        ((1, 10**30), 0),
        ((10**30, 1, 2, 4), 1),  # forged before the first of the sender's own
        ((1, 3, 10**30, 4, 6), 2),
        ((1, -(2**63), 0, 3), 1),
    ],
)
def test_holes_are_lost(numbers: Iterable[int], lost: int) -> None:
    assert settled(after(*numbers)) == lost


@pytest.mark.parametrize(
    ("sender", "number", "is_taken"),
    [
        ("a", 2, True),
        ("a", 2 + WIDEST_GAP, False),
        ("a", 0, False),
        ("b" * LONGEST_SENDER, 1, True),
        ("b" * (LONGEST_SENDER + 1), 1, False),
    ],
)
def test_what_no_sender_can_have_written_is_refused(
    sender: str, number: int, is_taken: bool
) -> None:
    assert after(1).note(sender, number) is is_taken


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers())))
def test_a_forged_number_adds_no_more_than_the_widest_gap(messages: list[tuple[str, int]]) -> None:
    heard = Numbering()
    for sender, number in messages:
        heard.note(sender, number)
    assert 0 <= settled(heard) <= len(messages) * WIDEST_GAP


@given(st.permutations(range(1, 30)))
def test_in_whatever_order_all_arrive_nothing_is_lost(numbers: list[int]) -> None:
    assert settled(after(*numbers)) == 0


def test_what_is_on_its_way_is_not_lost_yet() -> None:
    heard = after(1, 3)
    assert heard.lost() == 0
    heard.note("a", 2)
    assert heard.lost() == 0
    heard.note("a", 5)
    assert (heard.lost(), heard.lost()) == (0, 1)


def test_senders_are_counted_apart_and_of_many_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbering, "SENDERS", 2)
    heard = after(1, 3)
    for sender in ("b", "c"):
        heard.note(sender, 1)
        heard.note(sender, 4)
    assert settled(heard) == 1 + 2 + 2
    heard.note("a", 9)  # as if it were new
    assert settled(heard) == 5
