"""Callbacks that outlive their session, and callbacks that no thread is free for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.node.fakes import KeepingPeer
from websockets_app.core.states import EventKind
from websockets_app.dispatch.pool import SyncPool
from websockets_app.node import callback_watch
from websockets_app.node.callback_watch import CallbackWatch
from websockets_app.node.peers import Peers
from websockets_app.recording.facts import Subject

TICKER = Subject("in", 1, None, "ticker")


class Watched:
    """A watch whose clock the test moves, and what it reports."""

    def __init__(self, size: int) -> None:
        self.now = 1000.0
        self.peers = Peers(max_queued_bytes=1000, max_groups=100)
        self.pool = SyncPool(asyncio.get_running_loop(), size)
        self.events: list[tuple[Subject | None, str]] = []
        self.watch = CallbackWatch(self.peers, self.pool, self)  # type: ignore[arg-type]

    def add_own(self, kind: EventKind, subject: Subject | None = None, *, detail: str) -> None:
        assert kind == EventKind.PROBLEM
        self.events.append((subject, detail))

    def begin(self, name: str, *, closed: bool = True) -> Any:
        """Let a callback of a peer run."""
        peer: Any = KeepingPeer(name)
        peer.closed = closed
        peer.record = SimpleNamespace(subject=TICKER)
        peer.handler = SimpleNamespace(reference="handlers.ticker")
        peer.log_extra = lambda: {"endpoint": "ticker", "session": name}
        self.peers.busy[peer] = next(self.peers.numbers)
        return peer

    async def after(self, seconds: float) -> tuple[int, int]:
        """Look after some more seconds; return how many hang, and how many wait."""
        self.now += seconds
        await self.watch.look()
        return tuple(self.watch.row_columns().values())  # type: ignore[return-value]


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Watched(size=2)
    monkeypatch.setattr(callback_watch.time, "monotonic", lambda: made.now)
    yield made
    made.pool.stop()


@pytest.fixture
def blocker() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_a_callback_that_outlives_its_session_is_counted_after_a_grace_period(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    peer = watched.begin("tom")
    watched.begin("jerry", closed=False)
    assert await watched.after(0) == (0, 0)
    assert await watched.after(9) == (0, 0)
    assert not watched.events
    assert await watched.after(1) == (1, 0)
    ((subject, text),) = watched.events
    assert subject == TICKER
    for said in ("handlers.ticker", "endpoint ticker", "session tom"):
        assert said in text
        assert said in caplog.text
    del watched.peers.busy[peer]
    assert await watched.after(1) == (0, 0)


async def test_each_callback_has_a_grace_period_of_its_own(watched: Watched) -> None:
    peer = watched.begin("tom")
    for _ in range(5):  # messages that came before the peer left, handled one by one
        watched.peers.busy[peer] = next(watched.peers.numbers)
        assert await watched.after(6) == (0, 0)


async def test_one_handler_is_reported_once_a_minute_and_all_of_its_callbacks_are_counted(
    watched: Watched,
) -> None:
    watched.begin("first")
    await watched.after(0)
    for number in range(59):
        watched.begin(f"peer{number}")
        await watched.after(1)
    assert len(watched.events) == 1
    await watched.after(30)
    assert "handlers.ticker of endpoint ticker that" in watched.events[1][1]
    assert ": 60, the latest for session peer58" in watched.events[1][1]
    assert await watched.after(120) == (60, 0)
    assert len(watched.events) == 2  # nothing new


async def test_calls_that_wait_for_a_thread_for_long_are_counted_and_reported(
    watched: Watched, blocker: threading.Event
) -> None:
    watched.begin("tom", closed=False)
    calls = [watched.pool.run(blocker.wait) for _ in range(5)]
    assert await watched.after(0) == (0, 0)
    assert await watched.after(9) == (0, 0)
    assert await watched.after(1) == (0, 3)
    assert await watched.after(1) == (0, 3)
    ((subject, text),) = watched.events
    assert subject is None
    assert "SYNC_THREADS" in text
    assert "3 callbacks wait now" in text
    assert "handlers.ticker of endpoint ticker (1)" in text
    blocker.set()
    await asyncio.gather(*calls)
    assert await watched.after(1) == (0, 0)
