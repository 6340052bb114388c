"""A browser logs out on a page, and what it had open on a real Daphne ends."""

from __future__ import annotations

import asyncio
import http.cookiejar
import time
import urllib.parse
import urllib.request
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually


class Browser:
    """Somebody at the pages of a site, with cookies."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._jar = http.cookiejar.CookieJar()
        jar = urllib.request.HTTPCookieProcessor(self._jar)
        self._opener = urllib.request.build_opener(jar)

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self._jar}

    @property
    def headers(self) -> dict[str, str]:
        """What it sends with a handshake."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies, "Origin": self._server.http("").rstrip("/")}

    def get(self, path: str) -> None:
        self._opener.open(self._server.http(path), timeout=10 * SCALE).close()

    def post(self, path: str, **fields: str) -> None:
        data = {"csrfmiddlewaretoken": self.cookies["csrftoken"], **fields}
        encoded = urllib.parse.urlencode(data).encode()
        self._opener.open(self._server.http(path), encoded, timeout=10 * SCALE).close()


async def test_logging_out_closes_what_the_browser_has_open_within_five_seconds(
    site: Site, endpoints: Callable[..., None]
) -> None:
    site.create_admin()
    endpoints(site, private={"handler": "handlers.echo", "access": "staff"})
    server = site.start_daphne()
    browser = Browser(server)
    await asyncio.to_thread(browser.get, "/admin/login/")
    login = {"username": "admin", "password": "admin"}
    await asyncio.to_thread(browser.post, "/admin/login/?next=/admin/", **login)
    async with connect(server.ws("private"), additional_headers=browser.headers) as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"
        await asyncio.to_thread(browser.post, "/admin/logout/")
        logged_out = time.monotonic()
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
        assert time.monotonic() - logged_out < 5 * SCALE
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (4401, "revoked")
    assert row["close_reason"] == "logged out, or the login has expired"
