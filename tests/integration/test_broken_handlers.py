"""Handlers that can't be imported at first, on real servers with several processes each."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.ports import free_port, is_listening
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import aeventually, eventually

Endpoints = Callable[..., None]

WAITS = """
import os, pathlib

FOLDER = pathlib.Path(__file__).parent

if not (FOLDER / "all").exists() and not (FOLDER / str(os.getpid())).exists():
    raise ConnectionError(f"the broker is away, says {os.getpid()}")

def on_message(message):
    return str(os.getpid())
"""
ECHO = "def on_message(message): return message\n"


async def served_by(uri: str) -> set[str]:
    """Return the processes that serve it, of twenty attempts; the others refuse with 503."""
    found, statuses = set(), set()
    for _ in range(20):
        try:
            async with connect(uri) as peer:
                await peer.send("who are you?")
                found.add(str(await peer.recv()))
        except InvalidStatus as refused:
            statuses.add(refused.response.status_code)
    assert statuses <= {503}
    return found


async def test_each_process_reports_its_own_state_and_serves_once_its_import_succeeds(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, waits={"handler": site.write_handler("waits", WAITS)})
    server = site.start_uvicorn("--workers", "2")
    uri = server.ws("waits")

    def reports() -> dict[int, str]:
        rows = site.rows(
            "SELECT pid, problem FROM websockets_app_loaderror "
            "JOIN websockets_app_node ON websockets_app_node.id = node_id"
        )
        return {row["pid"]: row["problem"] for row in rows}

    async def both_report() -> bool:
        assert await served_by(uri) == set()
        return len(reports()) == 2

    await aeventually(both_report, timeout=20)
    first, second = sorted(reports())
    assert f"says {first}" in reports()[first]
    (site.directory / "site_handlers" / str(first)).touch()  # one of the two can import it now
    await aeventually(lambda: set(reports()) == {second}, timeout=20)
    assert await served_by(uri) == {str(first)}
    (site.directory / "site_handlers" / "all").touch()
    await aeventually(lambda: not reports(), timeout=20)

    async def both_serve() -> bool:
        return await served_by(uri) == {str(first), str(second)}

    await aeventually(both_serve, timeout=20)


@pytest.mark.parametrize("broken", ["this is no Python", "raise LookupError"])
def test_runserver_restarts_when_a_handler_is_corrected_that_could_not_be_imported(
    site: Site, endpoints: Endpoints, broken: str
) -> None:
    endpoints(site, broken={"handler": site.write_handler("broken", broken)})
    port = free_port()
    process = site.start("runserver", "runserver", f"127.0.0.1:{port}")
    eventually(lambda: is_listening(port), timeout=30)
    process.wait_for_output("Watching for file changes", timeout=30)

    texts = itertools.cycle([ECHO, f"{ECHO}# corrected once more\n"])

    def is_noticed() -> bool:
        # The reloader compares with its first look, which may come after the first correction.
        site.write_handler("broken", next(texts))
        return "broken.py changed, reloading" in process.output

    eventually(is_noticed, timeout=30, every=1.5)
