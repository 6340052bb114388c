"""Nobody is declared dead for a clock's or the database's sake."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.lifeline import Lifeline

TTL = 10.0


class Look(NamedTuple):
    """One look: how long after the last, how far the node's beat had moved, or no answer."""

    after: float
    moved: int
    answered: bool = True


LOOKS = st.lists(
    st.builds(
        Look,
        after=st.floats(0.01, 30.0),
        moved=st.sampled_from([0, 0, 0, 1, 3]),
        answered=st.sampled_from([True, True, True, False]),
    ),
    max_size=40,
)


def lost_at(looks: list[Look]) -> list[bool]:
    """Return after each look whether the node was declared lost."""
    lifeline, now, beat, found = Lifeline(TTL), 1000.0, 7, []
    for look in looks:
        now += look.after
        beat += look.moved
        if look.answered:
            found.append(lifeline.look({"node": beat}, now) == ["node"])
        else:
            lifeline.blind()
            found.append(False)
    return found


@given(LOOKS)
def test_a_lost_node_stood_still_for_a_whole_ttl_with_somebody_looking_all_along(
    looks: list[Look],
) -> None:
    for index, lost in enumerate(lost_at(looks)):
        if not lost:
            continue
        watched = 0.0
        for earlier in range(index, -1, -1):
            look = looks[earlier]
            assert look.answered
            if watched >= TTL - 1e-6:
                break
            assert look.moved == 0
            assert look.after <= TTL / 2
            watched += look.after
        assert watched >= TTL - 1e-6


@given(st.lists(st.floats(0.01, TTL / 2), min_size=1), st.integers(0, 3))
def test_a_node_that_stands_still_for_good_is_found_lost(
    pauses: list[float], blind_before: int
) -> None:
    steps = pauses * (int(2 * TTL / sum(pauses)) + 1)
    looks = [Look(1.0, 0, answered=False)] * blind_before
    looks += [Look(pause, 0) for pause in steps]
    assert any(lost_at(looks))


@given(st.lists(st.floats(0.01, 60.0), max_size=50))
def test_a_node_that_renews_between_two_looks_is_never_lost(pauses: list[float]) -> None:
    assert not any(lost_at([Look(pause, 1) for pause in pauses]))


def test_a_lease_seen_for_the_first_time_has_a_whole_ttl() -> None:
    lifeline = Lifeline(TTL)
    assert lifeline.look({}, 0.0) == []
    for now in (4.0, 8.0, 12.0, 13.9):
        assert lifeline.look({"late": 1}, now) == []
    assert lifeline.look({"late": 1}, 14.0) == ["late"]


def test_a_lost_node_is_named_until_somebody_has_reaped_it() -> None:
    lifeline = Lifeline(TTL)
    for now in (0.0, 4.0, 8.0):
        lifeline.look({"node": 1}, now)
    assert lifeline.look({"node": 1}, 10.0) == ["node"]
    assert lifeline.look({"node": 1}, 11.0) == ["node"]
    assert lifeline.look({}, 12.0) == []


def test_a_node_that_was_away_and_comes_back_with_the_same_beat_starts_anew() -> None:
    lifeline = Lifeline(TTL)
    for now in (0.0, 4.0, 8.0):
        lifeline.look({"node": 1}, now)
    assert lifeline.look({}, 9.0) == []
    assert lifeline.look({"node": 1}, 11.0) == []


def test_an_observer_that_slept_sees_the_others_as_new() -> None:
    lifeline = Lifeline(TTL)
    lifeline.look({"node": 1}, 0.0)
    assert lifeline.look({"node": 1}, 100.0) == []


def test_an_observer_whose_database_was_away_sees_the_others_as_new() -> None:
    lifeline = Lifeline(TTL)
    for now in (0.0, 4.0, 8.0):
        lifeline.look({"node": 1}, now)
    lifeline.blind()
    assert lifeline.look({"node": 1}, 10.0) == []


def test_each_node_has_a_clock_of_its_own() -> None:
    lifeline = Lifeline(TTL)
    for beat, now in enumerate((0.0, 4.0, 8.0)):
        lifeline.look({"still": 1, "alive": beat}, now)
    assert lifeline.look({"still": 1, "alive": 9}, 11.0) == ["still"]
