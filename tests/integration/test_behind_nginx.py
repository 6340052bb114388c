"""The site of *Put nginx in front*: its nginx and its settings, taken from the page."""

from __future__ import annotations

import asyncio
import http.cookiejar
import ssl
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.infrastructure.documents import blocks
from tests.infrastructure.nginx import Nginx, nginx_or_skip, running_nginx
from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually
from tests.outbound.certificates import Certificates, make_certificates

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("nginx")]

PAGE = "docs/how-to/deploy-behind-nginx.md"
QUICK = """
WEBSOCKETS |= {"HEARTBEAT_INTERVAL": 0.2, "HANDLER_PACKAGES": ["site_handlers"]}
"""
WHO = """
import os

async def on_open():
    return str(os.getpid())

async def on_message(message):
    return message
"""


@dataclass(frozen=True)
class Deployment:
    """A site as the page has it, and the processes behind nginx."""

    site: Site
    gunicorn: Server
    uvicorn: Server
    daphne: Server
    certificates: Certificates
    nginx: Nginx

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificates.authority)

    def connect(self, path: str = "who", nginx: Nginx | None = None, **options: Any) -> connect:
        url = (nginx or self.nginx).ws(path).replace("ws://", "wss://")
        return connect(url, ssl=self.tls, **options)

    def configured(self, port: int, **changes: str) -> str:
        """Return the page's configuration for this machine, with `changes` of what it says."""
        (block,) = blocks(PAGE, "The proxy")
        here = {
            "listen 443": f"listen 127.0.0.1:{port}",
            "server_name example.com": "server_name 127.0.0.1",
            "/etc/ssl/example.com/fullchain.pem": str(self.certificates.certificate),
            "/etc/ssl/example.com/privkey.pem": str(self.certificates.key),
            "127.0.0.1:8080": f"127.0.0.1:{self.gunicorn.port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.uvicorn.port}",
            "127.0.0.1:8001": f"127.0.0.1:{self.daphne.port}",
            **changes,
        }
        text = block.text
        for old, new in here.items():
            assert old in text
            text = text.replace(old, new)
        return text

    def another_nginx(self, directory: Path, **changes: str) -> AbstractContextManager[Nginx]:
        port = free_port()
        return running_nginx(directory / "nginx", self.configured(port, **changes), port)

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Return all rows by their ids."""
        rows = self.site.rows("SELECT * FROM websockets_app_session")
        return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[Deployment]:
    nginx_or_skip()
    directory = tmp_path_factory.mktemp("deployment")
    (settings,) = blocks(PAGE, "The site's settings")
    site = Site(
        directory / "site",
        template=migrated_database,
        settings=settings.text.replace("example.com", "127.0.0.1") + QUICK,
    )
    try:
        site.create_admin()
        handler = site.write_handler("who", WHO)
        site.shell(
            "for path, access in (('who', 'public'), ('mine', 'authenticated')):\n"
            f"    Endpoint.objects.create(endpoint=path, handler={handler!r}, access=access)"
        )
        port = free_port()
        made = partial(
            Deployment, site, site.start_gunicorn(),
            site.start_uvicorn("--ws-ping-interval", "0.3"), site.start_daphne(),
            make_certificates(directory),
        )  # fmt: skip
        config = made(nginx=None).configured(port)  # type: ignore[arg-type]
        with running_nginx(directory / "nginx", config, port) as nginx:
            yield made(nginx=nginx)
    finally:
        site.end()


async def status_of(connecting: connect) -> int:
    try:
        async with connecting:
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def echoes(websocket: ClientConnection) -> bool:
    try:
        await websocket.send("still there")
        return await websocket.recv() == "still there"
    except ConnectionClosed:
        return False


async def arrives_at(connecting: connect) -> int:
    """Return the id of the process that takes the next one who comes."""
    async with connecting as websocket:
        return int(await websocket.recv())


async def one_on_each(deployment: Deployment, nginx: Nginx) -> list[ClientConnection]:
    """Open a session on Uvicorn, and one on Daphne."""
    opened: dict[int, ClientConnection] = {}
    for _ in range(2):  # least_conn
        websocket = await deployment.connect(nginx=nginx)
        opened[int(await websocket.recv())] = websocket
    return [opened[deployment.uvicorn.pid], opened[deployment.daphne.pid]]


async def test_the_sites_own_origin_is_told_by_the_host_and_scheme_that_nginx_passes_on(
    deployment: Deployment,
) -> None:
    host = f"127.0.0.1:{deployment.nginx.port}"
    for origin, status in {
        f"https://{host}": 101,
        f"http://{host}": 403,
        "https://127.0.0.1": 403,
        "https://evil.test": 403,
    }.items():
        for _ in range(2):  # once by each process
            assert await status_of(deployment.connect(origin=origin)) == status, origin


async def test_a_visitors_address_is_recorded_and_none_can_make_one_up(
    deployment: Deployment,
) -> None:
    before = deployment.sessions().keys()
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.test"}
    connecting = partial(deployment.connect, local_addr=("127.0.0.2", 0))
    servers = {await arrives_at(connecting(additional_headers=headers)) for _ in range(2)}
    assert servers == {deployment.uvicorn.pid, deployment.daphne.pid}

    def recorded() -> list[str]:
        return [row["address"] for key, row in deployment.sessions().items() if key not in before]

    await aeventually(lambda: recorded().count("127.0.0.2") == 2)
    assert set(recorded()) <= {"127.0.0.1", "127.0.0.2"}


class Browser:
    """Somebody who logs in over HTTP, which is WSGI."""

    def __init__(self, deployment: Deployment) -> None:
        self.base = deployment.nginx.http("").replace("http://", "https://")
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies),
            urllib.request.HTTPSHandler(context=deployment.tls),
        )

    def cookie(self, name: str) -> str:
        return next((c.value or "" for c in self.cookies if c.name == name), "")

    def post(self, path: str, **fields: str) -> int:
        data = {"csrfmiddlewaretoken": self.cookie("csrftoken"), **fields}
        url, body = self.base + path, urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(url, body, {"Referer": url})  # noqa: S310 - https alone
        with self._opener.open(request) as answer:
            return int(answer.status)

    def log_in(self) -> None:
        self._opener.open(f"{self.base}/admin/login/").close()
        self.post("/admin/login/", username="admin", password="admin", next="/admin/")

    def log_out(self) -> None:
        self.post("/admin/logout/")


async def test_who_logs_in_by_wsgi_may_enter_by_asgi_until_they_log_out(
    deployment: Deployment,
) -> None:
    browser = Browser(deployment)
    assert await status_of(deployment.connect("mine", origin=browser.base)) == 403
    await asyncio.to_thread(browser.log_in)
    cookies = {"Cookie": f"sessionid={browser.cookie('sessionid')}"}
    enter = partial(deployment.connect, "mine", additional_headers=cookies)
    assert await status_of(enter(origin="https://evil.test")) == 403
    async with enter(origin=browser.base) as websocket:
        assert int(await websocket.recv()) in {deployment.uvicorn.pid, deployment.daphne.pid}
        assert await echoes(websocket)
        await asyncio.to_thread(browser.log_out)
        async with asyncio.timeout(10 * SCALE):
            await websocket.wait_closed()
        assert websocket.close_code == 4401


async def test_a_reload_keeps_sessions_and_who_is_down_gets_no_new_ones(
    deployment: Deployment, tmp_path: Path
) -> None:
    with deployment.another_nginx(tmp_path) as nginx:
        opened = await one_on_each(deployment, nginx)
        line = f"server 127.0.0.1:{deployment.uvicorn.port} max_fails=0"
        nginx.write(deployment.configured(nginx.port).replace(line, f"{line} down"))
        nginx.reload()
        daphne = deployment.daphne.pid
        await aeventually(lambda: reached({daphne}, deployment, nginx))
        for websocket in opened:
            assert await echoes(websocket)
            await websocket.close()


async def reached(pids: set[int], deployment: Deployment, nginx: Nginx) -> bool:
    """Tell whether the next few arrive at just these processes."""
    return {await arrives_at(deployment.connect(nginx=nginx)) for _ in range(4)} == pids


async def test_a_process_that_is_drained_gives_its_sessions_away_and_gets_no_new_ones(
    deployment: Deployment, tmp_path: Path
) -> None:
    (node,) = deployment.site.rows(
        f"SELECT * FROM websockets_app_node WHERE pid = {deployment.uvicorn.pid}"  # noqa: S608
    )
    drain = partial(deployment.site.manage, "drain_websockets", "--node", node["id"])
    with deployment.another_nginx(tmp_path) as nginx:
        drained, other = await one_on_each(deployment, nginx)
        await asyncio.to_thread(drain, "--over", "0.2", "--keep-out", "600")
        await drained.wait_closed()
        assert drained.close_code == 1012
        assert await reached({deployment.daphne.pid}, deployment, nginx)
        assert await echoes(other)
        await asyncio.to_thread(drain, "--cancel")
        await aeventually(lambda: comes_back(deployment, nginx))
        await other.close()


async def comes_back(deployment: Deployment, nginx: Nginx) -> bool:
    return await arrives_at(deployment.connect(nginx=nginx)) == deployment.uvicorn.pid


async def test_pings_outlast_the_proxys_patience_and_its_end_is_noticed(
    deployment: Deployment, tmp_path: Path
) -> None:
    began = str(datetime.now(UTC))

    def rows() -> list[dict[str, Any]]:
        """Return those of the two: rows of earlier sessions may be written only now."""
        return [row for row in deployment.sessions().values() if row["opened_at"] > began]

    def open_ones() -> list[str]:
        return [row["node_id"] for row in rows() if row["closed_at"] is None]

    patience = {"proxy_read_timeout 120s": "proxy_read_timeout 1s"}
    with deployment.another_nginx(tmp_path, **patience) as nginx:
        pinged, silent = await one_on_each(deployment, nginx)
        async with asyncio.timeout(10 * SCALE):
            await silent.wait_closed()  # Daphne pings every 20 seconds
        assert silent.close_code == 1006
        assert await echoes(pinged)
        await aeventually(lambda: len(open_ones()) == 1)
    await pinged.wait_closed()
    await aeventually(lambda: not open_ones())
    assert len(rows()) == 2
    assert {(row["close_code"], row["close_cause"]) for row in rows()} <= {
        (1005, "peer"), (1006, "transport"),
    }  # fmt: skip
