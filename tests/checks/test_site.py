"""Sessions, servers, and whether the routing is mounted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path
from pytest_django import Settings

from websockets_app.checks import site
from websockets_app.routing import websocket_urlpatterns, with_websockets


def ids(messages: list[Any]) -> list[str]:
    return [str(message.id).removeprefix("websockets_app.") for message in messages]


def test_the_demo_is_fine() -> None:
    assert site.check_sessions() == []
    assert site.check_server() == []
    assert site.check_routing() == []


def test_a_site_without_sessions(settings: Settings) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if "sessions" not in app]
    assert ids(site.check_sessions()) == ["W010"]


@pytest.mark.parametrize("value", [None, ""])
def test_a_site_without_an_asgi_application(settings: Settings, value: str | None) -> None:
    settings.ASGI_APPLICATION = value
    assert ids(site.check_server()) == ["W011"]
    assert site.check_routing() == []


def test_a_site_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "find_spec", lambda name: None)
    assert ids(site.check_server()) == ["W012"]
    monkeypatch.setattr(site, "find_spec", lambda name: name == "hypercorn" or None)
    assert site.check_server() == []


@pytest.mark.parametrize(("debug", "expected"), [(True, ["I013"]), (False, [])])
def test_a_runserver_that_is_djangos_own(
    settings: Settings, debug: bool, expected: list[str]
) -> None:
    settings.DEBUG = debug
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "daphne"]
    assert find_spec("daphne")
    assert ids(site.check_server()) == expected


@pytest.mark.parametrize(
    ("installed", "expected"),
    [("4.2.1", ["W015"]), ("4.1.2", ["W015"]), ("4.2.2", []), ("4.10.0", []), ("5.0", [])],
)
def test_a_daphne_with_known_vulnerabilities(
    monkeypatch: pytest.MonkeyPatch, installed: str, expected: list[str]
) -> None:
    monkeypatch.setattr(site, "version", lambda name: installed)
    assert ids(site.check_server()) == expected


@pytest.mark.parametrize(
    ("apps", "servers", "expected"),
    [
        (["daphne"], {"daphne", "uvicorn"}, ["W016"]),
        ([], {"daphne"}, ["W016"]),
        ([], {"daphne", "uvicorn"}, []),
        ([], {"granian"}, []),
    ],
)
def test_a_server_that_does_not_tell_who_reads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch,
    apps: list[str], servers: set[str], expected: list[str],
) -> None:  # fmt: skip
    others = [app for app in settings.INSTALLED_APPS if app != "daphne"]
    settings.INSTALLED_APPS = [*apps, *others]
    monkeypatch.setattr(site, "find_spec", lambda name: name if name in servers else None)
    assert ids(site.check_flow_control()) == expected


def http() -> Any:
    return get_asgi_application()


class Wrapping:
    """A middleware as people write them."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def closing_over(application: Any) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)

    return wrapped


async def another(scope: Any, receive: Any, send: Any) -> None: ...


def routed(websocket: Any) -> ProtocolTypeRouter:
    return ProtocolTypeRouter({"http": http(), "websocket": websocket})


def ours() -> URLRouter:
    return URLRouter([path("theirs/", another), *websocket_urlpatterns])


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_websockets(http()),
        lambda: routed(ours()),
        lambda: routed(AllowedHostsOriginValidator(AuthMiddlewareStack(ours()))),
        lambda: routed(URLRouter([path("", ours())])),
        lambda: Wrapping(with_websockets(http())),
        lambda: closing_over(closing_over(with_websockets(http()))),
        lambda: partial(another, app=with_websockets(http())),
    ],
)
def test_a_mounted_routing_is_found(make: Callable[[], Any]) -> None:
    assert site.leads_to_endpoints(make())


@pytest.mark.parametrize(
    "make",
    [
        http,
        lambda: ProtocolTypeRouter({"http": with_websockets(http())}),
        lambda: routed(URLRouter([path("theirs/", another)])),
        lambda: routed(AuthMiddlewareStack(URLRouter([]))),
        lambda: another,
        lambda: None,
    ],
)
def test_a_routing_that_is_not_mounted_is_missed(make: Callable[[], Any]) -> None:
    assert not site.leads_to_endpoints(make())


def test_the_application_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsproject.asgi.application", http())
    (message,) = site.check_routing()
    assert ids([message]) == ["W014"]
    assert "with_websockets" in str(message.hint)


def test_an_application_that_cannot_be_imported(settings: Settings) -> None:
    settings.ASGI_APPLICATION = "wsproject.asgi.missing"
    assert ids(site.check_routing()) == ["W014"]
    assert "can't be imported" in site.check_routing()[0].msg
