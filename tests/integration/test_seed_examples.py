"""Dirigible's client example in Python, and the README's, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infrastructure.documents import Block, blocks
from tests.infrastructure.npm import npm_package_or_skip
from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import Server
from tests.infrastructure.site import REPOSITORY, Site
from tests.infrastructure.waiting import SCALE, eventually

ECHO_OF_NODE = """
const { WebSocketServer } = require("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[1]) });
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    console.log(`heard ${data}`);
    socket.send(data, { binary: isBinary });
  });
});
"""

ECHO_OF_PYTHON = """
import sys
from websockets.sync.server import serve

def echo(socket):
    for message in socket:
        print("heard", message, flush=True)
        socket.send(message)

serve(echo, "127.0.0.1", int(sys.argv[1])).serve_forever()
"""

SAID = re.compile(r"Connection opened\.|Message received: .*|Error: .*|Connection closed\.")


def with_node() -> list[str]:
    return ["node", "-e", ECHO_OF_NODE]


def with_python() -> list[str]:
    return [sys.executable, "-c", ECHO_OF_PYTHON]


def start_echo(site: Site, command: list[str], directory: Path) -> Server:
    port = free_port()
    command = [*command, str(port)]
    server = Server("echo", command, site.directory / "echo.log", site.env(), directory, port)
    site.processes.append(server)
    server.wait_until_ready()
    return server


def write(site: Site, block: Block, uri: str) -> Path:
    """Write the file that a block of Python is; its server is the test's."""
    name, _ = block.file
    path = site.directory / name.replace("handlers/", "site_handlers/")
    path.parent.mkdir(exist_ok=True)
    text = block.text.replace("ws://127.0.0.1:8765/", uri)
    path.write_text(text.replace("wss://example.com/feed", uri), encoding="utf-8")
    return path


def run_in_shell(site: Site, script: Path) -> str:
    """Do as `python manage.py shell < script` does."""
    with script.open() as source:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "manage.py"), "shell", "--verbosity", "0"],
            stdin=source, env=site.env(), cwd=site.directory,
            capture_output=True, text=True, timeout=60 * SCALE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def clients(site: Site) -> list[str]:
    return [row["name"] for row in site.rows("SELECT name FROM websockets_app_client")]


@pytest.mark.parametrize("echo", [with_node, with_python])
def test_the_client_of_dirigibles_documentation(
    make_site: Callable[..., Site], echo: Callable[[], list[str]]
) -> None:
    directory = npm_package_or_skip("ws") if echo is with_node else REPOSITORY
    site = make_site(settings="WEBSOCKETS |= {'POLL_INTERVAL': 0.1}")
    server = start_echo(site, echo(), directory)
    python = [
        block
        for block in blocks("docs/how-to/port-from-dirigible.md", "The client")
        if block.language == "python"
    ]
    script, _ = [write(site, block, f"ws://127.0.0.1:{server.port}/") for block in python]
    runner = site.start_runner()
    runner.wait_for_output("is ready")
    said = run_in_shell(site, script)
    assert said == f"Connect to: ws://127.0.0.1:{server.port}/\n"
    runner.wait_for_output("Connection closed.")
    server.wait_for_output("heard hello")
    expected = ["Connection opened.", "Message received: hello", "Connection closed."]
    if echo is with_python:  # its pong, which close() waits for, may come before its answer
        expected.remove("Message received: hello")
    assert [words for words in SAID.findall(runner.output) if words in expected] == expected
    by_handler = "websockets.get_client_by_handler('my-project/ws-handler')"
    assert site.shell(f"from websockets_app import websockets\nprint({by_handler})") == "None\n"
    eventually(lambda: not clients(site))


def test_the_client_of_the_readme(make_site: Callable[..., Site]) -> None:
    site = make_site(settings="WEBSOCKETS |= {'POLL_INTERVAL': 0.1}")
    server = start_echo(site, with_python(), REPOSITORY)
    python = [b for b in blocks("README.md", "From code") if b.language == "python"]
    _, script = [write(site, block, f"ws://127.0.0.1:{server.port}/") for block in python]
    runner = site.start_runner()
    runner.wait_for_output("is ready")
    assert run_in_shell(site, script) == ""
    for words in ("feed: subscribe", "feed: hello"):
        runner.wait_for_output(words)
    assert clients(site) == ["feed"]
