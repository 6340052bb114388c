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


SIGNED_COOKIES = """
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
WEBSOCKETS |= {"ACCEPT_SIGNED_COOKIE_SESSIONS": True}
"""


async def test_logging_out_in_another_process_ends_a_login_in_a_signed_cookie(
    make_site: Callable[..., Site], valkey_url: str, endpoints: Callable[..., None]
) -> None:
    site = make_site(redis_url=valkey_url, settings=SIGNED_COOKIES)
    site.create_admin()
    endpoints(site, private={"handler": "handlers.echo", "access": "staff"})
    server, other = site.start_daphne(), site.start_daphne()
    browser = Browser(server)
    await asyncio.to_thread(browser.get, "/admin/login/")
    login = {"username": "admin", "password": "admin"}
    await asyncio.to_thread(browser.post, "/admin/login/?next=/admin/", **login)
    headers = {**browser.headers, "Origin": other.http("").rstrip("/")}
    async with connect(other.ws("private"), additional_headers=headers) as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"
        await asyncio.to_thread(browser.post, "/admin/logout/")
        logged_out = time.monotonic()
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
        assert time.monotonic() - logged_out < 5 * SCALE
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


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
