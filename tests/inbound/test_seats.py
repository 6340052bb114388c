"""How many sessions may be open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inbound.test_registry import config
from websockets_app.inbound.access import Refusal
from websockets_app.inbound.seats import NOBODY, Seat, Seats, Taken
from websockets_app.inbound.visitor import Visitor

ANNA = Visitor("1", "192.0.2.1")
BERT = Visitor("2", "192.0.2.1")
STRANGER = Visitor("", "")


def taken(seats: Seats, visitor: Visitor, elsewhere: Taken = NOBODY, **limits: int) -> Seat:
    seat = seats.take(config(1, "a", **limits), visitor, elsewhere)
    assert isinstance(seat, Seat)
    return seat


def refused(seats: Seats, visitor: Visitor, elsewhere: Taken = NOBODY, **limits: int) -> Refusal:
    refusal = seats.take(config(1, "a", **limits), visitor, elsewhere)
    assert isinstance(refusal, Refusal)
    assert refusal.cause == "rate"
    return refusal


def test_a_full_endpoint_asks_to_try_again_later() -> None:
    seats = Seats()
    taken(seats, STRANGER, max_sessions=2)
    taken(seats, ANNA, max_sessions=2)
    refusal = refused(seats, BERT, max_sessions=2)
    assert (refusal.status, refusal.code) == (503, 1013)
    assert refusal.reason == "as many sessions are open as the endpoint takes: 2"


def test_a_user_with_too_many_is_told_so_and_others_enter() -> None:
    seats = Seats()
    taken(seats, ANNA, max_sessions_per_user=1)
    refusal = refused(seats, ANNA, max_sessions_per_user=1)
    assert (refusal.status, refusal.code) == (429, 4429)
    assert refusal.reason == "user 1 has as many sessions open as the endpoint takes: 1"
    taken(seats, BERT, max_sessions_per_user=1)
    taken(seats, STRANGER, max_sessions_per_user=1)


def test_an_address_is_shared_by_users_and_a_private_one_may_be_a_proxys() -> None:
    seats = Seats()
    taken(seats, ANNA, max_sessions_per_address=1)
    assert "address 192.0.2.1" in refused(seats, BERT, max_sessions_per_address=1).reason
    taken(seats, Visitor("2", "10.0.0.1"), max_sessions_per_address=1)
    refusal = refused(seats, Visitor("3", "10.0.0.1"), max_sessions_per_address=1)
    assert "a proxy's? then list it in TRUSTED_PROXIES" in refusal.reason
    taken(seats, Visitor("2", "fd00::/64"), max_sessions_per_address=1)
    assert "proxy" in refused(seats, Visitor("3", "fd00::/64"), max_sessions_per_address=1).reason
    taken(seats, Visitor("4", "no address"), max_sessions_per_address=1)
    refusal = refused(seats, Visitor("4", "no address"), max_sessions_per_address=1)
    assert "proxy" not in refusal.reason


@pytest.mark.parametrize(
    ("elsewhere", "limits"),
    [
        (Taken(all=9), {"max_sessions": 10}),
        (Taken(all=9, user=9), {"max_sessions_per_user": 10}),
        (Taken(all=9, address=9), {"max_sessions_per_address": 10}),
    ],
)
def test_what_other_nodes_hold_counts_too(elsewhere: Taken, limits: dict[str, int]) -> None:
    seats = Seats()
    taken(seats, ANNA, elsewhere, **limits)
    refused(seats, ANNA, elsewhere, **limits)


def test_who_leaves_makes_room_once() -> None:
    seats = Seats()
    first, _ = taken(seats, ANNA, max_sessions=2), taken(seats, ANNA, max_sessions=2)
    first.leave()
    first.leave()
    taken(seats, ANNA, max_sessions=2)
    refused(seats, ANNA, max_sessions=2)


def test_nobody_is_counted_with_others_of_whom_nothing_is_known() -> None:
    seats = Seats()
    for _ in range(3):
        taken(seats, STRANGER, max_sessions_per_user=1, max_sessions_per_address=1)


visitors = st.builds(Visitor, st.sampled_from(["", "1", "2"]), st.sampled_from(["", "a", "b"]))


@given(st.lists(visitors | st.integers(0, 20), max_size=40))
def test_seats_that_are_left_leave_nothing_behind(steps: list[Visitor | int]) -> None:
    seats, held = Seats(), list[Seat]()
    for step in steps:
        if isinstance(step, Visitor):
            seat = seats.take(
                config(1, "a", max_sessions=5, max_sessions_per_user=2), step, NOBODY
            )
            held += [seat] if isinstance(seat, Seat) else []
        elif held:
            held.pop(step % len(held)).leave()
    assert len(held) <= 5
    for seat in held:
        seat.leave()
    assert not seats._taken
