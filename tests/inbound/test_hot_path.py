"""What one message costs between the server and its handler, as counts that no load can blur."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest
from django.db import connection as database
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import SENT_BY, Connection
from tests.inbound.people import log_in
from websockets_app.inbound import server

MESSAGES = 100
TURNS = 0.1
"""Calls a message, on the average, for letting others have their turn now and then."""
OURS = re.compile(r"/websockets_app/|/written_handlers/|<string>")

ECHO = "async def on_message(message):\n    return message\n"
SYNC_ECHO = "def on_message(message):\n    return message\n"


@dataclass
class Cost:
    """What happened in the session's task, and how often, for all messages together."""

    calls: int = 0
    tasks: int = 0
    hops: int = 0
    queries: int = 0


def in_session() -> bool:
    """Tell whether a session's task runs: the node's own loops tick on beside the messages."""
    task = asyncio.current_task()
    coroutine = task.get_coro() if task else None
    return getattr(coroutine, "__qualname__", "") == "InboundSession.run"


@contextmanager
def counting() -> Iterator[Cost]:
    cost = Cost()
    loop = asyncio.get_running_loop()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        # A coroutine that goes on counts again: that is work, too.
        if event == "call" and OURS.search(frame.f_code.co_filename) and in_session():
            cost.calls += 1

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        cost.tasks += in_session()
        return asyncio.Task(coroutine, loop=loop, **options)

    def hop(*arguments: Any) -> Any:
        cost.hops += in_session()
        return run_in_executor(*arguments)

    def query(execute: Callable[..., Any], *arguments: Any) -> Any:
        cost.queries += 1
        return execute(*arguments)

    run_in_executor = loop.run_in_executor
    loop.run_in_executor = hop  # type: ignore[method-assign]
    loop.set_task_factory(make_task)
    with database.execute_wrapper(query):
        sys.setprofile(profile)
        try:
            yield cost
        finally:
            sys.setprofile(None)
            loop.set_task_factory(None)
            loop.run_in_executor = run_in_executor  # type: ignore[method-assign]


async def cost_of_messages(connection: Connection) -> Cost:
    """Let the peer send messages, each after the answer to the one before, and count."""
    assert (await connection.connect())["type"] == "websocket.accept"
    connection.send("warm up")
    assert (await connection.next())["text"] == "warm up"
    with counting() as cost:
        for number in range(MESSAGES):
            connection.send(str(number))
            assert (await connection.sent.get())["text"] == str(number)
    connection.leave()
    await connection.ended()
    return cost


@pytest.mark.parametrize("recorded", ["counters", "rows", "payloads"])
@pytest.mark.parametrize("rate", [0, 1e6])
async def test_a_message_to_an_async_handler_costs_no_query_no_hop_no_task(
    serve: Callable[..., Any], write_handler: WriteHandler, recorded: str, rate: float
) -> None:
    reference = write_handler("echo", ECHO)
    fields = {"record_messages": recorded, "messages_per_second": rate}
    await serve(echo={"handler": reference, **fields})
    cost = await cost_of_messages(Connection("echo"))
    assert (cost.queries, cost.hops, cost.tasks) == (0, 0, 0)
    calls = {"counters": 12, "rows": 18, "payloads": 22}[recorded] + bool(rate) + TURNS
    assert cost.calls / MESSAGES <= calls, f"{cost.calls / MESSAGES} Python calls a message"


async def test_a_message_to_a_sync_handler_costs_no_query_no_task_and_not_djangos_executor(
    serve: Callable[..., Any], write_handler: WriteHandler
) -> None:
    await serve(echo={"handler": write_handler("echo", SYNC_ECHO)})
    cost = await cost_of_messages(Connection("echo"))
    assert (cost.queries, cost.hops, cost.tasks) == (0, 0, 0)
    assert cost.calls / MESSAGES <= 18 + TURNS, f"{cost.calls / MESSAGES} Python calls a message"


async def test_a_broadcast_costs_no_task_for_a_member_whose_server_takes_it_at_once(
    serve: Callable[..., Any], write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_WITHOUT_A_TASK", SENT_BY)
    serving = await serve(echo={"handler": write_handler("echo", ECHO)})
    connections = [Connection("echo") for _ in range(20)]
    for connection in connections:
        assert (await connection.connect())["type"] == "websocket.accept"
    for peer in serving.node.peers:
        serving.node.peers.join(peer, "all")
    loop, made = asyncio.get_running_loop(), 0

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        nonlocal made
        made += asyncio.current_task() is mine
        return asyncio.Task(coroutine, loop=loop, **options)

    mine = asyncio.current_task()
    loop.set_task_factory(make_task)
    try:
        assert await serving.node.peers.fan_out("all", "news") == len(connections)
    finally:
        loop.set_task_factory(None)
    assert made == 0
    for connection in connections:
        assert (await connection.next())["text"] == "news"
        connection.leave()
        await connection.ended()


async def test_a_handshake_of_a_user_costs_one_hop_two_queries_and_no_new_connection(
    serve: Callable[..., Any], write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"handler": write_handler("echo", ECHO), "access": "authenticated"}
    serving = await serve(echo=fields)
    ann = await log_in("ann")
    connection = await ann.enter("echo")  # which opens the thread's connection to the database
    connection.leave()
    await connection.ended()
    hops: list[object] = []
    queries: list[str] = []
    opened: list[str] = []
    run, execute = serving.node.lookups.run, CursorWrapper.execute

    def hop(function: Callable[..., Any], *arguments: Any) -> Any:
        hops.append(function)
        return run(function, *arguments)

    def in_lookup() -> bool:
        return threading.current_thread() in serving.node.lookups._threads

    def query(cursor: CursorWrapper, sql: str, params: Any = None) -> Any:
        if in_lookup():
            queries.append(sql)
        return execute(cursor, sql, params)

    def note(connection: BaseDatabaseWrapper, **_: object) -> None:
        if in_lookup():
            opened.append(connection.alias)

    monkeypatch.setattr(serving.node.lookups, "run", hop)
    monkeypatch.setattr(CursorWrapper, "execute", query)
    connection_created.connect(note)
    try:
        connection = await ann.enter("echo")
    finally:
        connection_created.disconnect(note)
    assert (len(hops), len(queries), opened) == (1, 2, [])
    connection.leave()
    await connection.ended()
