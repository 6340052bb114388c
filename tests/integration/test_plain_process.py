"""Programs without a node and an event loop send to sessions, and leave nothing behind.

Each send opens an event loop and a connection for itself alone.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from websockets.asyncio.client import connect

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE
from tests.integration.crowd import heard

TELLER = """
def on_open(session):
    return session.id
"""

SCRIPT = '''
import asyncio
import os
import sys
import threading

import django

django.setup()

from asgiref.sync import sync_to_async
from django.db import connections

from tests.infrastructure.waiting import eventually
from websockets_app import websockets

DJANGOS = "ThreadPoolExecutor-0_0"  # the one in which asynchronous code uses the ORM
session = websockets.WebsocketSession(sys.argv[1])


def loops_and_connections():
    """Return how many sockets and selectors are open; SQLite closes its files when it likes."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    kinds = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sum(kind.startswith(("socket:", "anon_inode:")) for kind in kinds)


def send(name):
    for number in range(50):
        assert session.send_text(f"{name} {number}") == "forwarded"
    connections.close_all()


def send_in_two_threads():
    threads = [threading.Thread(target=send, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def send_from_a_loop():
    assert await session.asend_text("loop 0") == "forwarded"
    assert await sync_to_async(session.send_text)("loop 1") == "forwarded"
    for number in range(2, 10):
        session.send_text_async(f"loop {number}")



def threads():
    return {thread.name for thread in threading.enumerate()} - {DJANGOS}


assert websockets.get_open_sessions("teller") == [session]
before = loops_and_connections(), threads()
send_in_two_threads()
session.send_text_async("main 0")
eventually(lambda: (loops_and_connections(), threads()) == before)
asyncio.run(send_from_a_loop())
connections.close_all()
eventually(lambda: (loops_and_connections(), threads()) == before)
print("all sent")
'''


async def test_a_script_s_threads_and_loops_send_and_leave_nothing_behind(
    make_site: Callable[..., Site], endpoints: Callable[..., None], valkey_url: str
) -> None:
    site = make_site(redis_url=valkey_url)
    endpoints(site, teller={"handler": site.write_handler("teller", TELLER)})
    script = site.directory / "script.py"
    script.write_text(SCRIPT)
    server = await asyncio.to_thread(site.start_uvicorn)
    async with connect(server.ws("teller")) as peer:
        command = [sys.executable, "-X", "dev", "-W", "error", str(script), await heard(peer)]
        done = await asyncio.to_thread(
            subprocess.run, command, env=site.env(), cwd=site.directory, capture_output=True,
            text=True, timeout=60 * SCALE, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("all sent\n", "")
        arrived = [await heard(peer) for _ in range(111)]
    for name, number in (("a", 50), ("b", 50), ("main", 1), ("loop", 10)):
        mine = [text for text in arrived if text.startswith(name)]
        assert mine == [f"{name} {n}" for n in range(number)]
