"""What is recorded of one peer: its counters, its messages as the row says, its one close."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import pytest

from tests.recording.conftest import ECHO, Away
from websockets_app.core.states import CloseCause, EventKind
from websockets_app.models import Event, Minute
from websockets_app.recording import writer
from websockets_app.recording.facts import Fact
from websockets_app.recording.payloads import PAYLOAD_LIMIT, redact_payloads
from websockets_app.recording.peer_record import DETAIL_LIMIT, PeerRecord
from websockets_app.recording.recorder import Recorder


@pytest.fixture
async def recorder() -> Any:
    made = Recorder("node")
    yield made
    made.stop()


def facts(recorder: Recorder) -> list[Fact]:
    """Return what is recorded, as the writer's thread writes it."""
    taken = recorder._buffer.take(1000)
    redact_payloads(taken)
    return taken


def peer(recorder: Recorder, messages: str = "counters") -> PeerRecord:
    return recorder.of_peer(ECHO, "p", messages)


async def test_messages_are_counted_both_ways(recorder: Recorder) -> None:
    record = peer(recorder)
    record.received("hello", 5)
    record.received(b"12", 2)
    record.sent("x", 1)
    assert (record.messages_in, record.bytes_in) == (2, 7)
    assert (record.messages_out, record.bytes_out) == (1, 1)
    assert facts(recorder) == []


async def test_messages_may_be_rows_without_their_payload(recorder: Recorder) -> None:
    record = peer(recorder, "rows")
    record.received("secret", 6)
    record.sent(b"secret", 6)
    first, second = facts(recorder)
    assert (first.kind, first.outgoing, first.size) == (EventKind.MESSAGE, False, 6)
    assert (second.outgoing, second.size) == (True, 6)
    assert "secret" not in repr((first, second))
    assert not first.sha256


async def test_messages_may_be_rows_with_their_payload(recorder: Recorder) -> None:
    record = peer(recorder, "payloads")
    record.received("grüße", 7)
    record.sent(b"\x00\xff", 2)
    text, binary = facts(recorder)
    assert (text.payload, text.size) == ("grüße", 7)
    assert text.sha256 == hashlib.sha256("grüße".encode()).hexdigest()
    assert (binary.payload, binary.size) == ("00ff", 2)


@pytest.mark.parametrize("message", ["x" * 100_000, "ü" * 50_000, "€" * 33_333 + "x"])
async def test_a_long_payload_is_cut_and_its_size_and_hash_are_those_of_the_whole(
    recorder: Recorder, message: str
) -> None:
    peer(recorder, "payloads").received(message, len(message.encode()))
    [fact] = facts(recorder)
    assert isinstance(fact.payload, str)
    assert message.startswith(fact.payload)
    assert PAYLOAD_LIMIT - 4 < len(fact.payload.encode()) <= PAYLOAD_LIMIT
    assert fact.size == len(message.encode()) == 100_000
    assert fact.sha256 == hashlib.sha256(message.encode()).hexdigest()


async def test_a_long_binary_payload_is_cut_to_as_many_bytes(recorder: Recorder) -> None:
    peer(recorder, "payloads").received(b"\xab" * 100_000, 100_000)
    [fact] = facts(recorder)
    assert fact.payload == "ab" * PAYLOAD_LIMIT


async def test_what_is_recorded_may_change_while_the_peer_is_open(recorder: Recorder) -> None:
    record = peer(recorder)
    record.received("first", 5)
    record.keep("payloads")
    record.received("second", 6)
    assert [fact.payload for fact in facts(recorder)] == ["second"]


async def test_events_are_numbered_without_a_hole_and_carry_ids_and_names(
    recorder: Recorder,
) -> None:
    record = peer(recorder, "rows")
    record.opened("/echo")
    record.received("hello", 5)
    record.error("ValueError: no")
    record.closed(1000, CloseCause.PEER, "bye")
    found = facts(recorder)
    assert [(fact.seq, str(fact.kind)) for fact in found] == [
        (1, "open"), (2, "message"), (3, "error"), (4, "close"),
    ]  # fmt: skip
    for fact in found:
        assert (fact.peer, fact.direction, fact.endpoint_id, fact.name) == ("p", "in", 7, "echo")
    close = found[-1]
    assert (close.code, close.cause, close.detail) == (1000, "peer", "bye")


async def test_an_endless_error_is_cut(recorder: Recorder) -> None:
    peer(recorder).error("x" * 10**6)
    assert len(facts(recorder)[0].detail) == DETAIL_LIMIT


async def test_a_close_counts_what_was_not_counted_yet(
    recorder: Recorder, transactional_db: None
) -> None:
    record = peer(recorder)
    record.opened()
    record.received("hello", 5)
    assert record.collect()
    assert not record.collect()
    record.sent("hello", 5)
    record.error("trouble")
    record.closed(1000, CloseCause.PEER, "")
    assert await recorder.flush()
    minute = await Minute.objects.aget()
    assert (minute.opened, minute.closed, minute.errors) == (1, 1, 1)
    assert (minute.messages_in, minute.messages_out, minute.bytes_in) == (1, 1, 5)


@pytest.mark.parametrize("message", ["a\0b", b"a\0b"])
async def test_a_message_with_nul_is_recorded_on_every_database(
    recorder: Recorder, transactional_db: None, message: str | bytes
) -> None:
    peer(recorder, "payloads").received(message, 3)
    assert await recorder.flush()
    event = await Event.objects.aget()
    assert event.payload == ("a␀b" if isinstance(message, str) else "610062")
    assert event.size == 3


async def test_an_empty_message_has_a_hash_if_payloads_are_recorded(recorder: Recorder) -> None:
    peer(recorder, "payloads").received("", 0)
    peer(recorder, "rows").received("", 0)
    hashed, plain = facts(recorder)
    assert (hashed.payload, hashed.sha256) == ("", hashlib.sha256(b"").hexdigest())
    assert (plain.payload, plain.sha256) == ("", "")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ('{"password": "hunter2", "n": 1}', '{"password": "…", "n": 1}'),
        ('{"password": "hunter2', "…"),
        (b'{"password": "hunter2"}', '{"password": "…"}'.encode().hex()),
        (b"\xa8password\xa7hunter2", "…"),
        (json.dumps({"password": "hunter2", "words": ["word"] * 100_000}), "…"),
        (json.dumps({"words": ["word"] * 10_000, "password": "hunter2"}),
         json.dumps({"words": ["word"] * 10_000})[:PAYLOAD_LIMIT]),
    ],
    ids=["json", "broken", "binary", "messagepack", "too long", "long"],
)  # fmt: skip
async def test_the_stored_payload_has_no_secret_and_its_size_and_hash_are_those_of_the_message(
    recorder: Recorder, transactional_db: None, message: str | bytes, shown: str
) -> None:
    raw = message.encode() if isinstance(message, str) else message
    peer(recorder, "payloads").received(message, len(raw))
    assert await recorder.flush()
    event = await Event.objects.aget()
    assert (event.payload, event.size) == (shown, len(raw))
    assert event.sha256 == hashlib.sha256(raw).hexdigest()


async def test_the_loop_neither_hashes_nor_parses_a_payload(
    recorder: Recorder, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[threading.Thread] = set()

    def noted(facts: list[Fact]) -> None:
        threads.add(threading.current_thread())
        redact_payloads(facts)

    monkeypatch.setattr(writer, "redact_payloads", noted)
    message = json.dumps({"password": "hunter2"})
    peer(recorder, "payloads").received(message, len(message))
    [waiting] = recorder._buffer._facts
    assert waiting.payload is message
    assert await recorder.flush()
    assert threads
    assert threading.main_thread() not in threads


async def test_a_payload_that_waits_for_the_database_is_redacted_once(
    recorder: Recorder, transactional_db: None
) -> None:
    message = "x" * 100_000
    peer(recorder, "payloads").received(message, len(message))
    async with Away():
        assert not await recorder.flush()
    [waiting] = recorder._buffer._facts
    assert waiting.payload == "x" * PAYLOAD_LIMIT
    assert recorder._buffer._text == PAYLOAD_LIMIT
    assert await recorder.flush()
    assert (await Event.objects.aget()).sha256 == hashlib.sha256(message.encode()).hexdigest()


@pytest.mark.parametrize(
    "kind", [EventKind.ERROR, EventKind.CLOSE, EventKind.REFUSED, EventKind.PROBLEM]
)
async def test_the_detail_of_no_event_has_a_secret(
    recorder: Recorder, transactional_db: None, kind: EventKind
) -> None:
    recorder.add_own(kind, ECHO, detail="no login: password=hunter2")
    peer(recorder).event(kind, detail='bad {"token": "hunter2"}')
    assert await recorder.flush()
    details = [event.detail async for event in Event.objects.order_by("pk")]
    assert details == ["no login: password=…", 'bad {"token": "…"}']
