"""Endpoints behind what a site puts around its own WebSockets, through the whole application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from channels.sessions import SessionMiddlewareStack
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.urls import path
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN, log_in
from websockets_app.routing import websocket_urlpatterns

Serve = Callable[..., Any]

WHO = "def on_open(user):\n    return user.get_username() or 'nobody'"
LOGGED_IN = {"handler": "handlers.echo", "access": "authenticated"}


async def theirs(scope: Any, receive: Any, send: Any) -> None: ...


class TokenMiddleware:
    """A middleware as sites write them: it knows a user by a token in the query."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["query_string"].decode().removeprefix("token=")
        user = await User.objects.aget(username=name)
        await self.inner({**scope, "user": user}, receive, send)


def behind(*middlewares: Callable[[Any], Any]) -> ProtocolTypeRouter:
    """Return an application as of a site that has WebSockets of its own, the outermost first."""
    application: Any = URLRouter([path("theirs/", theirs), *websocket_urlpatterns])
    for middleware in reversed(middlewares):
        application = middleware(application)
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": application})


def only(*origins: str) -> Callable[[Any], Any]:
    return lambda inner: OriginValidator(inner, list(origins))


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.mark.parametrize(
    "middlewares",
    [
        pytest.param((AuthMiddlewareStack,), id="auth"),
        pytest.param((SessionMiddlewareStack,), id="sessions"),
        pytest.param((AllowedHostsOriginValidator, AuthMiddlewareStack), id="hosts and auth"),
        pytest.param((only("http://testserver"), SessionMiddlewareStack), id="origins"),
        pytest.param((lambda inner: URLRouter([path("", inner)]),), id="a router"),
    ],
)
async def test_the_user_of_the_django_session_is_known_and_followed(
    serve: Serve, write_handler: WriteHandler, middlewares: tuple[Any, ...]
) -> None:
    serving = await serve(who={"handler": write_handler("who", WHO), "access": "authenticated"})
    tom, application = await log_in("tom"), behind(*middlewares)
    connection = await tom.enter("who", application=application)
    assert (await connection.next())["text"] == "tom"
    await serving.revocation.poll()
    assert connection.sent.empty()
    headers = tom.headers
    await tom.browser.alogout()
    await serving.revocation.poll()
    assert (await connection.next())["code"] == 4401
    await connection.ended()
    logged_out = Connection("who", headers=headers, application=application)
    assert (await logged_out.connect())["type"] == "websocket.close"


@pytest.mark.parametrize("middlewares", [(AuthMiddlewareStack,), (SessionMiddlewareStack,)])
async def test_nobody_in_particular_enters_what_is_public(
    serve: Serve, write_handler: WriteHandler, middlewares: tuple[Any, ...]
) -> None:
    await serve(who={"handler": write_handler("who", WHO)}, private=LOGGED_IN)
    application = behind(*middlewares)
    connection = Connection("who", headers=[ORIGIN], application=application)
    assert (await connection.connect())["type"] == "websocket.accept"
    assert (await connection.next())["text"] == "nobody"
    private = Connection("private", headers=[ORIGIN], application=application)
    assert (await private.connect())["type"] == "websocket.close"


async def test_a_user_known_by_a_token_enters_and_is_followed_by_the_row(serve: Serve) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    connection = Connection(
        "private", headers=[ORIGIN], application=behind(AuthMiddlewareStack, TokenMiddleware)
    )
    connection.scope["query_string"] = b"token=tom"
    assert (await connection.connect())["type"] == "websocket.accept"
    await tom.browser.alogout()
    await serving.revocation.poll()
    assert connection.sent.empty()
    await tom.change(is_active=False)
    await serving.revocation.poll()
    assert (await connection.next())["code"] == 4401


@pytest.mark.parametrize(
    ("allowed", "origin", "accepted"),
    [
        (["testserver"], "http://testserver", True),
        (["testserver"], "https://app.test", False),  # the row lists it, the middleware doesn't
        (["testserver", "app.test"], "https://app.test", True),
        (["*"], "https://app.test", True),
        (["*"], "https://evil.test", False),  # the middleware lets everybody in, the row doesn't
        (["testserver"], None, False),  # the row allows it, the middleware doesn't
        (["*"], None, True),
    ],
)
async def test_an_origin_has_to_please_the_middleware_and_the_row(
    serve: Serve, allowed: list[str], origin: str | None, accepted: bool
) -> None:
    await serve(
        echo={
            "handler": "handlers.echo", "origins": ["https://app.test"],
            "allow_missing_origin": True,
        }
    )  # fmt: skip
    headers = [("origin", origin)] if origin else []
    connection = Connection("echo", headers=headers, application=behind(only(*allowed)))
    answer = await connection.connect()
    assert answer["type"] == ("websocket.accept" if accepted else "websocket.close")
