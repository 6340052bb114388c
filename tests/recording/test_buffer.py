"""The buffer is bounded, loses the oldest messages first, and counts what it loses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.states import EventKind
from websockets_app.recording.buffer import FactBuffer
from websockets_app.recording.facts import Fact

BOUND = 20


def fact(seq: int, kind: EventKind = EventKind.OPEN, **columns: object) -> Fact:
    return Fact(kind=kind, at=0.0, seq=seq, **columns)  # type: ignore[arg-type]


def message(seq: int, payload: str = "") -> Fact:
    return fact(seq, EventKind.MESSAGE, payload=payload)


def content(buffer: FactBuffer) -> list[Fact]:
    return buffer.take(len(buffer))


def test_facts_come_out_in_their_order() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(10):
        buffer.append(fact(seq))
    assert [taken.seq for taken in buffer.take(4)] == [0, 1, 2, 3]
    assert [taken.seq for taken in buffer.take(100)] == [4, 5, 6, 7, 8, 9]
    assert buffer.take(1) == []


def test_what_is_put_back_comes_out_first_again() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(6):
        buffer.append(fact(seq))
    taken = buffer.take(3)
    buffer.append(fact(6))
    buffer.put_back(taken)
    assert [kept.seq for kept in content(buffer)] == [*range(7)]


def test_nothing_is_lost_below_the_bound() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(BOUND):
        buffer.append(message(seq))
    assert len(buffer) == BOUND
    assert buffer.take_lost() == 0


def test_past_the_bound_the_oldest_messages_go_before_any_other_fact() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(BOUND):
        buffer.append(fact(seq) if seq < 10 else message(seq))
    buffer.append(fact(BOUND))
    kept = [fact.seq for fact in content(buffer)]
    assert kept == [*range(10), *range(13, BOUND + 1)]
    assert buffer.take_lost() == 3


def test_where_there_are_no_messages_the_oldest_facts_go() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(BOUND + 1):
        buffer.append(fact(seq))
    assert [fact.seq for fact in content(buffer)] == [*range(3, BOUND + 1)]
    assert buffer.take_lost() == 3


def test_a_loss_is_told_once() -> None:
    buffer = FactBuffer(BOUND)
    for seq in range(BOUND + 1):
        buffer.append(fact(seq))
    assert buffer.take_lost() == 3
    assert buffer.take_lost() == 0


def test_a_gap_that_is_lost_itself_takes_its_count_along() -> None:
    buffer = FactBuffer(BOUND)
    buffer.append(fact(0, EventKind.GAP, lost=100))
    for seq in range(BOUND):
        buffer.append(fact(seq))
    assert buffer.take_lost() == 100 + 2


def test_text_is_bounded_too_however_few_the_facts() -> None:
    buffer = FactBuffer(1000, text_bound=10_000)
    buffer.append(fact(0, detail="important"))
    for seq in range(1, 21):
        buffer.append(message(seq, "x" * 1000))
    kept = content(buffer)
    assert sum(len(fact.detail) + len(fact.payload) for fact in kept) <= 10_000
    assert kept[0].seq == 0
    assert len(kept) + buffer.take_lost() == 21


def test_text_that_was_taken_makes_room() -> None:
    buffer = FactBuffer(1000, text_bound=10_000)
    for seq in range(100):
        buffer.append(message(seq, "x" * 1000))
        taken = buffer.take(1)
        if seq % 2:
            buffer.put_back(taken)
            buffer.take(1)
    assert buffer.take_lost() == 0


KINDS = st.sampled_from([EventKind.MESSAGE, EventKind.OPEN, EventKind.CLOSE])


@given(st.lists(st.tuples(KINDS, st.integers(0, 200)), max_size=200), st.integers(10, 50))
def test_every_fact_is_kept_or_counted_and_the_bounds_hold(
    facts: list[tuple[EventKind, int]], bound: int
) -> None:
    buffer = FactBuffer(bound, text_bound=2000)
    for seq, (kind, length) in enumerate(facts):
        buffer.append(fact(seq, kind, payload="x" * length))
        assert len(buffer) <= bound
    kept = content(buffer)
    assert len(kept) + buffer.lost == len(facts)
    assert [fact.seq for fact in kept] == sorted(fact.seq for fact in kept)
    assert sum(len(fact.payload) for fact in kept) <= 2000
