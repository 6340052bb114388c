"""Fixtures of the recording: a recorder on a real database, which can go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from websockets_app.models import Event
from websockets_app.recording.facts import Subject
from websockets_app.recording.recorder import Recorder

ECHO = Subject("in", 7, None, "echo")

MakeRecorder = Callable[[], Recorder]


@pytest.fixture
async def make_recorder(transactional_db: None) -> AsyncIterator[MakeRecorder]:
    """Make recorders; each is stopped in the end."""
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder(f"node{len(made)}"))
        return made[-1]

    yield make
    for recorder in made:
        recorder.stop()


@pytest.fixture
async def recorder(make_recorder: MakeRecorder) -> Recorder:
    """A recorder that writes when it is told to."""
    return make_recorder()


@pytest.fixture
async def running(recorder: Recorder) -> AsyncIterator[Recorder]:
    """A recorder that writes by itself."""
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextmanager
def events_away() -> Iterator[None]:
    """Let every write of an event fail, as it does where the database is away."""
    table = connection.ops.quote_name(Event._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")


class Away:
    """The same for a test that runs in an event loop."""

    def __init__(self) -> None:
        self._away = events_away()

    async def __aenter__(self) -> None:
        await sync_to_async(self._away.__enter__)()

    async def __aexit__(self, *failure: object) -> None:
        await sync_to_async(self._away.__exit__)(None, None, None)
