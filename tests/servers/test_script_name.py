"""A site below a path: on each server the endpoints are where Django's views are."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.waiting import SCALE
from tests.servers.stage import Kind, Served, Stage

MOUNT: Final = """
from wsproject.asgi import application as site

async def application(scope, receive, send):
    if scope["type"] != "lifespan":
        if not scope["path"].startswith("/app/"):
            raise LookupError(scope["path"])
        scope = {**scope, "root_path": scope.get("root_path", "") + "/app"}
    await site(scope, receive, send)
"""


def by_option_of_the_server(stage: Stage, kind: Kind, directory: Path) -> Served:
    return stage.serve(kind, directory, kind.root_path_option, "/app")


def by_force_script_name(stage: Stage, kind: Kind, directory: Path) -> Served:
    return stage.serve(kind, directory, settings="FORCE_SCRIPT_NAME = '/app'")


def by_mounting(stage: Stage, kind: Kind, directory: Path) -> Served:
    directory.mkdir(exist_ok=True)
    (directory / "mounted.py").write_text(MOUNT)
    return stage.serve(kind, directory, application="mounted:application")


Deploy = Callable[[Stage, Kind, Path], Served]


@pytest.fixture(params=[by_option_of_the_server, by_force_script_name, by_mounting])
def deployed(
    request: pytest.FixtureRequest, stage: Stage, kind: Kind, tmp_path: Path
) -> Iterator[Served]:
    deploy: Deploy = request.param
    served = deploy(stage, kind, tmp_path / "site")
    yield served
    served.site.end()


def get(served: Served, path: str) -> str | None:
    """Return the page at `path`, or None if the site doesn't have it."""
    url = served.server.http(path)
    try:
        with urllib.request.urlopen(url, timeout=10 * SCALE) as response:  # noqa: S310 - http
            return str(response.read().decode())
    except urllib.error.HTTPError:
        return None


async def opens(served: Served, path: str) -> bool:
    try:
        async with connect(served.server.ws(path)) as websocket:
            await websocket.send("hello")
            return await websocket.recv() == "hello"
    except InvalidStatus:
        return False


async def test_an_endpoint_opens_where_a_view_answers_and_pages_show_it_there(
    deployed: Served,
) -> None:
    pages = {prefix: get(deployed, f"{prefix}/") for prefix in ("", "/app", "/application")}
    for prefix, page in pages.items():
        opened = await opens(deployed, f"{prefix}/websockets/v4/service/echo")
        assert opened == (page is not None), prefix
    page = pages[""] or pages["/app"]
    assert page is not None
    assert '<option value="/app/websockets/v4/service/echo"' in page
