"""Limits by address where visitors come through a proxy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from pytest_django import Settings

from tests.inbound.driver import Connection
from websockets_app.inbound.handshake import _warn_of_proxy, path_info
from websockets_app.models import Session

Serve = Callable[..., Any]


@pytest.fixture
async def serving(serve: Serve) -> Any:
    return await serve(echo={"handler": "handlers.echo", "max_sessions_per_address": 1})


def passed_on(forwarded: str, proxy: str) -> Connection:
    headers = [("x-forwarded-for", forwarded)]
    connection = Connection("echo", headers=headers, extensions=["websocket.http.response"])
    connection.scope["client"] = (proxy, 1234)
    return connection


def trust(settings: Settings, *proxies: str) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "TRUSTED_PROXIES": proxies}


async def test_visitors_of_a_trusted_proxy_are_counted_each_by_their_own_address(
    serving: Any, settings: Settings
) -> None:
    trust(settings, "10.0.0.1")
    for forwarded, status in [
        ("203.0.113.9", 101),
        ("203.0.113.10", 101),
        ("203.0.113.9", 429),
        ("203.0.113.77, 203.0.113.9", 429),  # who names themselves otherwise wins nothing
    ]:
        assert await passed_on(forwarded, "10.0.0.1").status() == status
    assert await serving.node.recorder.flush()
    addresses = [session.address async for session in Session.objects.all()]
    assert sorted(addresses) == ["203.0.113.10", "203.0.113.9"]


async def test_visitors_of_a_proxy_that_nobody_trusts_count_as_one(serving: Any) -> None:
    assert await passed_on("203.0.113.9", "10.0.0.1").status() == 101
    assert await passed_on("203.0.113.10", "10.0.0.1").status() == 429


async def test_a_proxy_on_this_machine_that_nobody_trusts_is_told_of_once(
    serving: Any, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_of_proxy.cache_clear()
    for trusted in ([], [], ["127.0.0.1"]):
        trust(settings, *trusted)
        assert await passed_on("127.0.0.2", "127.0.0.1").status() == 101
    (told,) = [record for record in caplog.records if "TRUSTED_PROXIES" in record.message]
    assert told.levelname == "WARNING"


@pytest.mark.parametrize("path", ["/x", "/app/x", "/app/app/x", "/app", "/application"])
@pytest.mark.parametrize(
    ("root_path", "forced"), [("", None), ("/app", None), ("", "/app"), ("/other", "/app")]
)
def test_the_script_name_is_stripped_as_django_strips_it(
    settings: Settings, path: str, root_path: str, forced: str | None
) -> None:
    settings.FORCE_SCRIPT_NAME = forced
    scope = {"path": path, "root_path": root_path, "headers": []}
    request = ASGIRequest({**scope, "type": "http", "method": "GET"}, io.BytesIO())
    assert path_info(scope) == request.path_info


async def test_an_endpoint_below_a_script_name_opens_and_its_path_is_recorded_whole(
    serving: Any,
) -> None:
    path = "/app/websockets/v4/service/echo"
    connection = Connection(path)
    connection.scope["root_path"] = "/app"
    assert (await connection.connect())["type"] == "websocket.accept"
    connection.leave()
    await connection.ended()
    assert await serving.node.recorder.flush()
    assert (await Session.objects.aget()).path == path
