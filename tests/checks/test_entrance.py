"""What stands in front of the endpoints, and whether logins can end."""

from __future__ import annotations

from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from django.core.checks import run_checks
from django.urls import path
from pytest_django import Settings

from websockets_app.checks import entrance
from websockets_app.models import Endpoint
from websockets_app.routing import websocket_urlpatterns

ROWS = {"databases": ["default"]}


def ids(messages: list[Any]) -> list[str]:
    return [str(message.id).removeprefix("websockets_app.") for message in messages]


def ours() -> Any:
    return URLRouter(websocket_urlpatterns)


async def theirs(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the site serve WebSockets by an application."""

    def serving(websocket: Any) -> None:
        router = ProtocolTypeRouter({"websocket": websocket})
        monkeypatch.setattr("wsproject.asgi.application", router)

    return serving


def test_the_demo_is_fine() -> None:
    assert entrance.check_logins_can_end() == []
    assert entrance.check_outer_origins() == []


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("django.contrib.sessions.backends.signed_cookies", ["W017"]),
        ("django.contrib.sessions.backends.cached_db", []),
        ("no.such.engine", []),
    ],
)
def test_logins_that_nobody_can_end(settings: Settings, engine: str, expected: list[str]) -> None:
    settings.SESSION_ENGINE = engine
    assert ids(entrance.check_logins_can_end()) == expected
    settings.WEBSOCKETS = {"ACCEPT_SIGNED_COOKIE_SESSIONS": True}
    assert entrance.check_logins_can_end() == []
    settings.WEBSOCKETS = {}
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if "sessions" not in app]
    assert entrance.check_logins_can_end() == []


@pytest.mark.parametrize("hosts", [["*"], ["example.com", "*"]])
def test_a_validator_that_opens_everything(
    settings: Settings, serve: Any, hosts: list[str]
) -> None:
    settings.ALLOWED_HOSTS = hosts
    serve(AllowedHostsOriginValidator(AuthMiddlewareStack(ours())))
    assert ids(entrance.check_outer_origins()) == ["I019"]


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        (["https://example.com", "https://*.example.com"], []),
        (["https://app.test"], ["W018"]),
        (["https://*.app.test"], ["W018"]),
    ],
)
def test_trusted_origins_that_a_validator_refuses(
    settings: Settings, serve: Any, trusted: list[str], expected: list[str]
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = trusted
    serve(OriginValidator(ours(), [".example.com"]))
    messages = entrance.check_outer_origins()
    assert ids(messages) == expected
    assert all(trusted[0] in message.msg for message in messages)


def test_a_validator_that_is_around_others_alone_is_not_ours_to_judge(
    settings: Settings, serve: Any
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.test"]
    serve(URLRouter([path("theirs/", OriginValidator(theirs, ["*"])), *websocket_urlpatterns]))
    assert entrance.check_outer_origins() == []


def test_an_application_that_cannot_be_imported_is_left_to_its_own_check(
    settings: Settings,
) -> None:
    for application in ("wsproject.asgi.missing", None):
        settings.ASGI_APPLICATION = application
        assert entrance.check_outer_origins() == []


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({}, ""),
        ({"origins": ["https://www.example.com"]}, ""),
        ({"origins": ["https://app.test", "https://example.com"]}, "word: https://app.test."),
        ({"origins": ["*"]}, "word: *."),
        ({"origins": ["null"]}, "word: null."),
        ({"origins": "no list"}, ""),
        ({"allow_missing_origin": True}, "programs, which send no origin"),
        ({"access": "public"}, "programs, which send no origin"),
        ({"origins": ["https://app.test"], "enabled": False}, ""),
    ],
)
@pytest.mark.django_db
def test_rows_that_let_in_what_a_validator_refuses(
    serve: Any, fields: dict[str, Any], refused: str
) -> None:
    row = Endpoint.objects.create(endpoint="echo", handler="handlers.echo", **fields)
    serve(OriginValidator(AuthMiddlewareStack(ours()), [".example.com"]))
    messages = entrance.check_outer_origins_of_rows(**ROWS)
    assert ids(messages) == ["W018"] * bool(refused)
    assert all(refused in message.msg and message.obj == row for message in messages)
    assert entrance.check_outer_origins_of_rows() == []
    serve(OriginValidator(AuthMiddlewareStack(ours()), ["*"]))
    assert entrance.check_outer_origins_of_rows(**ROWS) == []


@pytest.mark.django_db
def test_only_a_check_for_deployment_imports_the_application(serve: Any) -> None:
    Endpoint.objects.create(endpoint="echo", handler="handlers.echo", origins=["*"])
    serve(OriginValidator(ours(), ["https://example.com"]))
    assert "W018" not in ids(run_checks(**ROWS))
    assert "W018" in ids(run_checks(include_deployment_checks=True, **ROWS))
