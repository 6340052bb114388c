"""Clients that code creates in one process and the runner holds in another."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection

from tests.infrastructure.processes import Process, Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, eventually
from tests.integration.peers import Peer, running_peer

SAYS = """
def on_open():
    return "hello"

def on_message(message):
    print(f"got {message}\\n", end="", flush=True)
"""

QUICK = "WEBSOCKETS |= {'NODE_TTL': 2.0, 'HEARTBEAT_INTERVAL': 0.3, 'POLL_INTERVAL': 0.1}\n"
CLIENTS = "SELECT id, name FROM websockets_app_client ORDER BY id"


@pytest.fixture
def heard() -> list[str | bytes]:
    """What the peer was told."""
    return []


@pytest.fixture
def peer(heard: list[str | bytes]) -> Iterator[Peer]:
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            heard.append(message)
            with suppress(ConnectionClosed):  # what came before the close is heard all the same
                connection.send(message)

    with running_peer(echo) as started:
        yield started


def ready(site: Site) -> Process:
    runner = site.start_runner()
    runner.wait_for_output("is ready")
    return runner


SCRIPT = """
    import os, sys, threading
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    django.setup()

    from websockets_app import websockets

    uri, handler = sys.argv[1:]
    client = websockets.create_websocket(uri, handler)
    client.send("from a script")
    thread = threading.Thread(target=client.send, args=["from its thread"])
    thread.start()
    thread.join()
    print(client.closed, websockets.get_client_by_handler(handler) == client)
    client.close()
    print(websockets.get_client_by_handler(handler))
"""


def test_a_shell_a_script_and_its_threads_create_clients(
    make_site: Callable[..., Site], peer: Peer, heard: list[str | bytes]
) -> None:
    site = make_site(settings=QUICK)
    handler = site.write_handler("says", SAYS)
    refused = site.shell(
        "from websockets_app import exceptions, websockets\n"
        f"try:\n    websockets.create_websocket({peer.uri!r}, {handler!r})\n"
        "except exceptions.NoRunner as error:\n    print(error)"
    )
    assert "manage.py run_websocket_clients" in refused
    runner = ready(site)
    script = site.directory / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, str(script), peer.uri, handler],
        env=site.env(), capture_output=True, text=True, timeout=30 * SCALE, check=False,
    )  # fmt: skip
    assert (done.stderr, done.stdout.split()) == ("", ["False", "True", "None"])
    eventually(lambda: not site.rows(CLIENTS))
    eventually(lambda: len(heard) == 3)  # the peer may read them after the close
    assert heard == ["hello", "from a script", "from its thread"]
    shown = site.shell(
        "from websockets_app import websockets\n"
        f"client = websockets.create_websocket({peer.uri!r}, {handler!r}, name='lasting')\n"
        "client.send('from a shell')\n"
        f"websockets.create_websocket({peer.uri!r}, {handler!r})\n"
        "import json; print(json.dumps(websockets.get_clients()))"
    )
    told = [(client["state"], client["ephemeral"]) for client in json.loads(shown)]
    assert told == [("open", False), ("open", True)]
    runner.wait_for_output("got from a shell")
    assert runner.kill(signal.SIGTERM) == 0
    assert [row["name"] for row in site.rows(CLIENTS)] == ["lasting"]


def test_an_ephemeral_client_ends_with_a_runner_that_is_killed_and_no_other_opens_it(
    make_site: Callable[..., Site], peer: Peer
) -> None:
    site = make_site(settings=QUICK)
    handler = site.write_handler("says", SAYS)
    first = ready(site)
    site.shell(
        "from websockets_app import websockets\n"
        f"websockets.create_websocket({peer.uri!r}, {handler!r})"
    )
    second = site.start_runner()
    first.kill(signal.SIGKILL)
    eventually(lambda: not site.rows(CLIENTS), timeout=10)
    assert not site.rows("SELECT client_id FROM websockets_app_clientruntime")
    assert peer.handshakes == 1
    assert second.returncode is None


URLS = """
    import asyncio

    from django.db import transaction
    from django.http import JsonResponse
    from django.urls import path

    from websockets_app import exceptions, websockets


    def answer(outcome):
        return JsonResponse({"outcome": outcome})


    def plainly(request):
        try:
            client = websockets.create_websocket(request.GET["uri"], "says")
        except exceptions.WebsocketsError as error:
            return answer(type(error).__name__)
        client.send("from a view")
        return answer("open")


    @transaction.non_atomic_requests
    def apart(request):
        return plainly(request)


    @transaction.non_atomic_requests
    async def awaiting(request):
        try:
            client = await websockets.acreate_websocket(request.GET["uri"], "says", timeout=30)
        except exceptions.WebsocketsError as error:
            return answer(type(error).__name__)
        await client.asend("from an async view")
        return answer("open")


    @transaction.non_atomic_requests
    async def wrongly(request):
        try:
            websockets.create_websocket(request.GET["uri"], "says")
        except Exception as error:
            return answer(str(error))


    urlpatterns = [
        path("atomic", plainly),
        path("plain", apart),
        path("async", awaiting),
        path("wrong", wrongly),
    ]
"""


class Views:
    """A site whose views create clients."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, path: str, uri: str, timeout: float = 20) -> Any:
        url = self.server.http(f"/{path}?uri={uri}")
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - http
            return json.loads(response.read())["outcome"]


BRIDGE = """
from websockets_app import websockets

async def on_open():
    client = await websockets.acreate_websocket({uri!r}, "says", name="bridge")
    await client.asend("from an async callback")

def on_message(message):
    client = websockets.create_websocket({uri!r}, "says", name="bridge")
    client.send(message)
    return [client == websockets.get_client_by_handler("says"), websockets.get_message()]
"""


def test_views_and_handlers_of_endpoints_create_clients(
    make_site: Callable[..., Site], endpoints: Callable[..., None], peer: Peer
) -> None:
    own = "ROOT_URLCONF = 'site_urls'\nDATABASES['default']['ATOMIC_REQUESTS'] = True\n"
    site = make_site(settings=QUICK + own)
    site.write_handler("says", SAYS)
    endpoints(site, bridge={"handler": site.write_handler("bridge", BRIDGE.format(uri=peer.uri))})
    (site.directory / "site_urls.py").write_text(textwrap.dedent(URLS))
    runner = ready(site)
    views = Views(site.start_daphne())
    with connect(views.server.ws("bridge")) as browser:
        runner.wait_for_output("got from an async callback")
        browser.send("over the bridge")
        assert json.loads(browser.recv(timeout=5 * SCALE)) == [True, "over the bridge"]
        runner.wait_for_output("got over the bridge")
    for path, words in (("plain", "from a view"), ("async", "from an async view")):
        assert views.get(path, peer.uri) == "open"
        runner.wait_for_output(f"got {words}")
        assert views.get(path, "ws://127.0.0.1:9/") == "PeerUnreachable"
    assert views.get("atomic", peer.uri) == "WaitInTransaction"
    assert "await acreate_websocket()" in views.get("wrong", peer.uri)
    assert len(site.rows(CLIENTS)) == 3

    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        uri = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            views.get("async", uri, timeout=1)  # who asked leaves, and Django cancels the view
        eventually(lambda: len(site.rows(CLIENTS)) == 3)
