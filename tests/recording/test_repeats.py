"""What happens again and again is told a few times, then counted: bounded, and nothing is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.infrastructure.waiting import aeventually
from tests.recording.conftest import ECHO
from websockets_app.core.states import EventKind
from websockets_app.models import Event, Minute
from websockets_app.recording import recorder as recorders
from websockets_app.recording.facts import Subject
from websockets_app.recording.recorder import Recorder
from websockets_app.recording.repeats import (
    FIRST,
    GROUPS_PER_SUBJECT,
    MAX_GROUPS,
    WINDOW_SECONDS,
    Occurrence,
    Repeated,
    Repeats,
)

KINDS = st.sampled_from([EventKind.REFUSED, EventKind.ERROR])
ENDPOINTS = st.integers(1, 3)
ADDRESSES = st.integers(1, 2 * GROUPS_PER_SUBJECT)


def subject(endpoint: int) -> Subject:
    return Subject("in", endpoint, None, f"e{endpoint}")


def repeat(repeats: Repeats, now: float, equal_in: str, endpoint: int = 1) -> bool:
    return repeats.is_repeat(
        EventKind.REFUSED, subject(endpoint), equal_in, lambda: Occurrence(f"{equal_in} at {now}"),
        now=now, at=1000 + now,
    )  # fmt: skip


def test_the_first_few_are_told_one_by_one_and_the_rest_as_one_with_a_count() -> None:
    repeats = Repeats()
    assert [repeat(repeats, n, "a") for n in range(50)] == [False] * FIRST + [True] * 45
    assert repeats.take(WINDOW_SECONDS - 1) == []
    (told,) = repeats.take(WINDOW_SECONDS)
    fact = told.fact(7)
    assert (fact.kind, fact.seq, fact.name, fact.endpoint_id) == ("refused", 7, "e1", 1)
    assert fact.detail == f"a at {FIRST}"
    assert (fact.repeats, fact.first_at, fact.at) == (45, 1000.0 + FIRST, 1049.0)
    assert not repeat(repeats, 61, "a")  # a new minute
    assert repeats.take() == []


@given(st.lists(st.tuples(KINDS, ENDPOINTS, ADDRESSES, st.floats(0, 30)), max_size=400))
def test_what_is_told_and_what_is_counted_add_up_to_all_that_happened(
    happened: list[tuple[EventKind, int, int, float]],
) -> None:
    repeats, now = Repeats(), 0.0
    expected: Counter[tuple[EventKind, int | None]] = Counter()
    told: Counter[tuple[EventKind, int | None]] = Counter()
    for kind, endpoint, address, later in happened:
        now += later
        expected[kind, endpoint] += 1
        told[kind, endpoint] += not repeats.is_repeat(
            kind, subject(endpoint), str(address), lambda: Occurrence(""), now=now, at=now
        )
        for repeated in repeats.take(now):
            told[kind_and_endpoint(repeated)] += repeated.number
            assert repeated.first_at <= repeated.last_at <= now
    for repeated in repeats.take():
        told[kind_and_endpoint(repeated)] += repeated.number
    assert told == expected


def kind_and_endpoint(repeated: Repeated) -> tuple[EventKind, int | None]:
    return repeated.kind, repeated.subject.endpoint_id


def test_what_a_peer_varies_makes_neither_memory_nor_rows_grow() -> None:
    repeats, rows = Repeats(), 0
    for number in range(10_000):
        rows += not repeat(repeats, 0, f"address {number}")
    assert len(repeats._groups) == GROUPS_PER_SUBJECT + 1
    told = repeats.take()
    assert rows + sum(repeated.number for repeated in told) == 10_000
    assert rows + len(told) < 60
    assert told[-1].fact(1).detail.startswith("several different ones, such as: address")
    assert not repeats._groups
    assert not repeats._groups_of


def test_many_endpoints_have_one_group_each_at_most_past_the_bound() -> None:
    repeats = Repeats()
    for endpoint in range(MAX_GROUPS):
        for number in range(GROUPS_PER_SUBJECT):
            repeat(repeats, 0, str(number), endpoint)
    assert len(repeats._groups) <= 2 * MAX_GROUPS


async def test_repeats_are_recorded_and_logged_when_their_minute_is_over(
    running: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorders, "COLLECT_SECONDS", 0.0)
    monkeypatch.setattr("websockets_app.recording.repeats.WINDOW_SECONDS", 0.0)
    refusal = Occurrence("no\nmore", 4403, "rate")
    for _ in range(1021 + FIRST):
        running.is_repeat(EventKind.REFUSED, ECHO, "", lambda: refusal)
    await aeventually(Event.objects.aexists)
    event = await Event.objects.aget()
    assert (event.kind, event.endpoint_id, event.repeats) == ("refused", ECHO.endpoint_id, 1021)
    assert (event.code, event.cause, event.detail) == (4403, "rate", "no\nmore")
    assert event.first_at is not None
    assert event.first_at <= event.at
    (line,) = [record for record in caplog.records if "more like this" in record.message]
    assert line.message == "echo (refused): 1,021 more like this within 0 s: no"
    assert (line.levelname, vars(line)["endpoint"]) == ("WARNING", "echo")


async def test_what_is_only_logged_makes_no_event(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FIRST + 1):
        recorder.is_repeat(EventKind.PROBLEM, ECHO, "", lambda: Occurrence("x", recorded=False))
    recorder.tell_repeats()
    assert await recorder.flush()
    assert not await Event.objects.aexists()
    assert "1 more like this" in caplog.text


async def test_errors_of_peers_are_counted_in_the_minute_each(recorder: Recorder) -> None:
    peer = recorder.of_peer(ECHO, "p", "counters")
    for _ in range(50):
        peer.count_error()
    assert await recorder.flush()
    assert (await Minute.objects.aget()).errors == 50
