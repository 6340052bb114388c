"""The routing that a site mounts: it can be imported early, and answers what reaches it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter

from tests.infrastructure.site import REPOSITORY
from tests.infrastructure.waiting import SCALE
from websockets_app.inbound import consumers
from websockets_app.routing import serve_endpoint, websocket_urlpatterns, with_websockets


def test_it_can_be_imported_before_django_is_set_up() -> None:
    code = (
        "from websockets_app.routing import websocket_urlpatterns, with_websockets\n"
        "from django.apps import apps\n"
        "from django.conf import settings\n"
        "assert not apps.ready and not settings.configured"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=REPOSITORY, env={}, timeout=30 * SCALE
    )


@pytest.mark.parametrize("path", ["/", "/websockets/v4/service/echo", "/☃/", "/app/x"])
@pytest.mark.parametrize("root_path", ["", "/app"])
async def test_http_stays_with_the_site_and_every_websocket_comes_to_the_endpoints(
    path: str, root_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers differ in whether the path begins with what the site is mounted at."""
    come: list[Any] = []

    class Endpoints:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            come.append(scope)

    monkeypatch.setattr(consumers, "EndpointConsumer", Endpoints)
    scope = {"type": "websocket", "path": path, "root_path": root_path}

    async def http(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nobody asked")

    application = with_websockets(http)
    assert isinstance(application, ProtocolTypeRouter)
    assert application.application_mapping["http"] is http
    await application(scope, None, None)
    [its] = come
    assert its is scope


def test_whatever_the_patterns_before_it_left_over_is_the_endpoints() -> None:
    [pattern] = websocket_urlpatterns
    for path in ("", "websockets/v4/service/echo", "service/js", "☃/", "a\nb"):
        assert pattern.pattern.match(path) is not None
    assert pattern.callback is serve_endpoint
