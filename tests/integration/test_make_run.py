"""What `make run` does once it has installed: the demo, until Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.infrastructure.ports import free_port, is_listening
from tests.infrastructure.processes import Server
from tests.infrastructure.site import REPOSITORY, Site
from tests.infrastructure.waiting import SCALE, eventually

PASSWORD = re.compile(r"User admin, password (\S+)")


class Demo:
    """Runs the demo as `make run` does, on the database of a site, again and again."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.runs: list[Server] = []

    def run(self) -> Server:
        env = {**self.site.env(), "HOST": "127.0.0.1", "PORT": str(self.port)}
        log = self.site.directory / f"run{len(self.runs)}.log"
        command = [sys.executable, "-m", "wsproject.demo"]
        run = Server("make run", command, log, env, REPOSITORY, self.port)
        self.runs.append(run)
        run.wait_until_ready()
        return run

    def press_ctrl_c(self) -> int:
        """Do what a terminal does: tell the whole foreground group."""
        run = self.runs[-1]
        os.killpg(run.pid, signal.SIGINT)
        return run.wait(30)


@pytest.fixture
def demo(site: Site) -> Iterator[Demo]:
    made = Demo(site)
    yield made
    for run in made.runs:
        run.end()
        print(run.output)  # noqa: T201 - shown if the test fails


def test_it_runs_server_and_runner_until_ctrl_c_and_keeps_what_people_own(
    demo: Demo,
) -> None:
    site = demo.site
    first = demo.run()
    first.wait_for_output(f"http://127.0.0.1:{demo.port}/", timeout=20)
    password = PASSWORD.findall(first.output)[0]
    authenticate = "__import__('django.contrib.auth').contrib.auth.authenticate"
    assert site.evaluate(f"{authenticate}(username='admin', password={password!r}) is not None")
    with connect(first.ws("echo"), max_size=None) as socket:
        socket.send(b"\x00" * 2**20)
        assert len(socket.recv(timeout=10 * SCALE)) == 2**20
    first.wait_for_output("Listening.", timeout=20)  # the runner hears the ticker
    eventually(lambda: len(PASSWORD.findall(first.output)) == 2)
    assert "server started" in first.output.rpartition("User admin, password")[0]
    heard = "SELECT messages_in FROM websockets_app_clientruntime WHERE messages_in > 3"
    eventually(lambda: site.rows(heard), timeout=20)
    assert len(first.output.rpartition("User admin, password")[2].splitlines()) < 15

    site.shell(
        "Endpoint.objects.filter(endpoint='echo').update(description='mine')\n"
        "Endpoint.objects.create(endpoint='own', handler='handlers.echo', description='mine')\n"
        "Endpoint.objects.get(endpoint='try-me', source='').delete()\n"
        "Client.objects.update(desired='stop')"
    )
    assert demo.press_ctrl_c() == 0
    assert not is_listening(demo.port)
    nodes = site.rows("SELECT kind, state FROM websockets_app_node ORDER BY kind")
    assert nodes == [
        {"kind": "runner", "state": "stopped"}, {"kind": "server", "state": "stopped"},
    ]  # fmt: skip
    assert not site.rows("SELECT 1 FROM websockets_app_session WHERE closed_at IS NULL")

    began = time.monotonic()
    second = demo.run()
    assert time.monotonic() - began < 10 * SCALE
    assert not PASSWORD.search(second.output)
    rows = site.rows("SELECT endpoint, description FROM websockets_app_endpoint ORDER BY id")
    assert [row["endpoint"] for row in rows] == [
        "echo", "room/<slug:room>", "/service/<str:type>", "ticker", "own",
    ]  # fmt: skip
    assert rows[0]["description"].startswith("Returns what it gets")  # its file rules
    assert rows[-1]["description"] == "mine"
    assert site.rows("SELECT desired FROM websockets_app_client") == [{"desired": "stop"}]
    second.wait_for_output("is ready. Clients to run: 0", timeout=20)
    second.wait_for_output("User admin", timeout=20)
    [hint] = re.findall(r"lost: (\S+ manage\.py) changepassword admin", second.output)
    done = subprocess.run(
        [*hint.split(), "changepassword", "--help"], cwd=REPOSITORY, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Change a user's password" in done.stdout
    assert demo.press_ctrl_c() == 0


def test_the_server_s_end_ends_the_runner_too(demo: Demo) -> None:
    run = demo.run()
    run.wait_for_output("is ready", timeout=20)
    eventually(lambda: demo.site.rows("SELECT 1 FROM websockets_app_node WHERE kind = 'runner'"))
    [server] = re.findall(r"server started \(pid=(\d+)\)", run.output)
    os.kill(int(server), signal.SIGKILL)
    assert run.wait(30) != 0
    runner = demo.site.rows("SELECT state FROM websockets_app_node WHERE kind = 'runner'")
    assert runner == [{"state": "stopped"}]
