"""Children that a server process forks: they send like any other process, and never hang."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.ports import free_port
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

Endpoints = Callable[..., None]

HANDLER = """
import asyncio
import multiprocessing
import pathlib
import threading

from asgiref.sync import sync_to_async
from websockets_app import websockets

fork = multiprocessing.get_context("fork")


def in_child(session, queue):
    session.send_text_async("queued")
    answers = [
        str(session.closed), str(session.send_text("sent")),
        str(websockets.broadcast("all", "told")),
        str(asyncio.run(session.asend_text("sent by a loop"))),
        str(asyncio.run(websockets.abroadcast("all", "told by a loop"))),
        str(len(websockets.get_open_sessions())), str(websockets.get_params()["name"]),
    ]
    queue.put(answers)


def fork_child(session):
    queue = fork.Queue()
    child = fork.Process(target=in_child, args=[session, queue])
    child.start()
    try:
        return queue.get(timeout=20)
    finally:
        child.kill()
        child.join()


def use_orm(session):
    return len(websockets.get_open_sessions())


def on_open(session):
    session.join("all")


async def on_message(message, session):
    await asyncio.to_thread(websockets.broadcast, "nobody", "")  # which uses the node's loop
    await sync_to_async(use_orm)(session)
    match message:
        case "from the loop":
            queue = fork.Queue()
            child = fork.Process(target=in_child, args=[session, queue])
            child.start()
            answers = await asyncio.to_thread(queue.get, timeout=20)
            await asyncio.to_thread(child.join)
        case "from its thread":
            answers = await sync_to_async(fork_child)(session)
        case "from another thread":
            answers = await asyncio.to_thread(fork_child, session)
    assert await sync_to_async(use_orm)(session) == 1
    return {"answers": answers}
"""

PLAIN = (
    HANDLER.replace("async def on_message", "async def unused")
    + """

def on_message(message, session):
    use_orm(session)
    answers = fork_child(session)
    assert use_orm(session) == 1
    return {"answers": answers}
"""
)

PRELOADED = '''
"""A server that loads the site and makes a node, then forks the worker that serves."""

import asyncio
import os
import signal
import socket
import sys
import threading

from wsproject.asgi import application

import uvicorn

from websockets_app.core.states import EventKind
from websockets_app.inbound.serving import get_serving, stop_serving
from websockets_app.node import node as nodes

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
ready, leave = threading.Event(), threading.Event()


async def serve():
    serving = await get_serving()
    serving.node.recorder.add_own(EventKind.GAP, detail="of the parent")
    stop = asyncio.Event()
    threading.Thread(target=lambda: (leave.wait(), loop.call_soon_threadsafe(stop.set))).start()
    loop = asyncio.get_running_loop()
    nodes._nodes_lock.acquire()  # as if a thread of the parent were just changing the nodes
    ready.set()
    await asyncio.to_thread(forked.wait)
    nodes._nodes_lock.release()
    await stop.wait()
    await stop_serving()


forked = threading.Event()
threading.Thread(target=lambda: asyncio.run(serve())).start()
ready.wait()
child = os.fork()
if child == 0:
    uvicorn.Server(uvicorn.Config(application, log_level="info")).run(sockets=[listener])
    sys.exit()
forked.set()
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
os.waitpid(child, 0)  # Uvicorn ends itself by the signal that it was sent
leave.set()
'''


async def heard(peer: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(peer.recv(), 30 * SCALE)


async def test_a_child_that_a_handler_forks_sends_as_another_process_does(
    make_site: Callable[..., Site],
    endpoints: Endpoints,
    valkey_url: str,
    postgres_database: str,
) -> None:
    # Not on SQLite, whose library keeps the parent's locks in the memory of the child.
    site = make_site(database_url=postgres_database, redis_url=valkey_url)
    rows = {
        name: {"endpoint": f"{name}/<str:name>", "handler": site.write_handler(name, source)}
        for name, source in (("asynchronous", HANDLER), ("plain", PLAIN))
    }
    endpoints(site, **rows)
    server = site.start_uvicorn()
    async with connect(server.ws("asynchronous/tom")) as peer:
        await has_row(site, "asynchronous/<str:name>")
        for wants in ("from the loop", "from its thread", "from another thread"):
            await check_child(peer, wants)
    async with connect(server.ws("plain/tom")) as peer:
        await has_row(site, "plain/<str:name>")
        for _ in range(2):  # the parent's thread and its connection still work
            await check_child(peer, "")
    server.kill(signal.SIGTERM)
    closed = site.rows("SELECT close_cause, messages_in FROM websockets_app_session ORDER BY 2")
    assert closed == [
        {"close_cause": "peer", "messages_in": 2}, {"close_cause": "peer", "messages_in": 3},
    ]  # fmt: skip


async def check_child(peer: ClientConnection, wants: str) -> None:
    """Let a child be forked as the peer `wants`: all that it sends arrives, and it is answered."""
    await peer.send(wants)
    received = [str(await heard(peer)) for _ in range(6)]
    (answer,) = [text for text in received if text.startswith("{")]
    expected = ["False", "forwarded", "0", "forwarded", "0", "1", "tom"]
    assert json.loads(answer)["answers"] == expected
    received.remove(answer)
    assert sorted(received) == ["queued", "sent", "sent by a loop", "told", "told by a loop"]


async def has_row(site: Site, endpoint: str) -> None:
    """Wait until other processes can know a session of the endpoint, and of no other."""
    query = "SELECT endpoint_path AS path FROM websockets_app_session WHERE closed_at IS NULL"
    await aeventually(lambda: [row["path"] for row in site.rows(query)] == [endpoint])


async def test_a_worker_forked_from_a_process_with_a_node_serves_by_itself(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site()
    endpoints(site, echo={"handler": site.write_handler("joining", JOINING)})
    (site.directory / "preloaded.py").write_text(PRELOADED, encoding="utf-8")
    port = free_port()
    server = site._start_server("preloaded", ["preloaded", str(port)], port)
    async with connect(server.ws("echo")) as peer:
        await peer.send("hello")
        assert await heard(peer) == "news"
        assert await heard(peer) == "1"
    server.send(signal.SIGTERM)
    assert server.wait(30) == 0
    nodes = site.rows("SELECT id, state, pid FROM websockets_app_node")
    assert [row["state"] for row in nodes] == ["stopped", "stopped"]
    assert len({row["pid"] for row in nodes}) == 2
    events = site.rows("SELECT kind, detail FROM websockets_app_event WHERE kind = 'gap'")
    assert events == [{"kind": "gap", "detail": "of the parent"}]


JOINING = """
from websockets_app import websockets

def on_open(session):
    session.join("all")

def on_message(message):
    return str(websockets.broadcast("all", "news"))
"""


async def test_a_child_does_not_write_what_its_parent_has_recorded(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site()
    endpoints(site, exiting={"handler": site.write_handler("exiting", EXITING)})
    server = site.start_uvicorn()
    async with connect(server.ws("exiting")) as peer:
        await peer.send("fork")
        assert await heard(peer) == "0"
    await aeventually(lambda: site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'close'"))
    server.kill(signal.SIGTERM)


EXITING = """
import os
import sys

from websockets_app.recording import recorder

def refuse(batch):
    os._exit(3)

def on_message(session):
    child = os.fork()
    if child == 0:
        recorder.write_all_but_refused = refuse
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
