"""Checks of the site: that a server speaks WebSocket, and that our routing is mounted in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Final

from channels.routing import ProtocolTypeRouter, URLRouter
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string
from django.utils.version import get_version_tuple

from ..routing import serve_endpoint
from .tags import WEBSOCKETS

SERVERS: Final = ("daphne", "uvicorn", "hypercorn", "granian")
SAFE_DAPHNE: Final = (4, 2, 2)
_MOST_STEPS: Final = 500
_MOUNT: Final = (
    "In asgi.py: application = with_websockets(get_asgi_application()), from "
    "websockets_app.routing; or put its websocket_urlpatterns last in your URLRouter."
)


@checks.register(WEBSOCKETS)
def check_sessions(**kwargs: Any) -> list[checks.CheckMessage]:
    if apps.is_installed("django.contrib.sessions"):
        return []
    return [
        checks.Warning(
            "Without django.contrib.sessions nobody is known at a handshake: only public "
            "endpoints can be entered.",
            hint="Add it to INSTALLED_APPS; or put a middleware that sets scope['user'] around "
            "the routing, and silence this.",
            id="websockets_app.W010",
        )
    ]


@checks.register(WEBSOCKETS)
def check_server(**kwargs: Any) -> list[checks.CheckMessage]:
    return [*_check_application(), *_check_installed(), *_check_runserver(), *_check_daphne()]


def _check_application() -> Iterator[checks.CheckMessage]:
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield checks.Warning(
            "ASGI_APPLICATION isn't set: runserver serves no WebSockets, and no check can tell "
            "whether the routing is mounted.",
            hint='Set it to the application of your asgi.py, as "mysite.asgi.application".',
            id="websockets_app.W011",
        )


def _check_installed() -> Iterator[checks.CheckMessage]:
    if not any(find_spec(server) for server in SERVERS):
        yield checks.Warning(
            "No ASGI server is installed, and WSGI servers don't speak WebSocket.",
            hint=f"Install one of {', '.join(SERVERS)}: pip install daphne.",
            id="websockets_app.W012",
        )


def _check_runserver() -> Iterator[checks.CheckMessage]:
    if settings.DEBUG and find_spec("daphne") and not apps.is_installed("daphne"):
        yield checks.Info(
            "Django's own runserver serves no WebSockets.",
            hint='Put "daphne" first into INSTALLED_APPS, or start another ASGI server.',
            id="websockets_app.I013",
        )


def _check_daphne() -> Iterator[checks.CheckMessage]:
    try:
        installed = version("daphne")
    except PackageNotFoundError:
        return
    if get_version_tuple(installed) < SAFE_DAPHNE:
        yield checks.Warning(
            f"Daphne {installed} has known vulnerabilities.",
            hint="pip install 'daphne>=4.2.2'",
            id="websockets_app.W015",
        )


@checks.register(WEBSOCKETS, deploy=True)
def check_flow_control(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warn of Daphne where the site names it, or has no other server."""
    if not apps.is_installed("daphne") and any(find_spec(name) for name in SERVERS[1:]):
        return []
    if not find_spec("daphne"):
        return []
    return [
        checks.Warning(
            "Daphne takes every message at once, and keeps in memory what a peer doesn't read: no "
            "endpoint's send timeout has any effect.",
            hint="Serve strangers with uvicorn, hypercorn or granian; or silence this.",
            id="websockets_app.W016",
        )
    ]


@checks.register(WEBSOCKETS, deploy=True)
def check_routing(**kwargs: Any) -> list[checks.CheckMessage]:
    """Import the ASGI application, as a server does, and look for our endpoints in it.

    With `--deploy` alone: importing it may start what only a server should.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        return []
    try:
        application = import_string(path)
    except Exception as error:
        text = f"ASGI_APPLICATION, {path!r}, can't be imported: {type(error).__name__}: {error}"
        return [checks.Warning(text, id="websockets_app.W014")]
    if leads_to_endpoints(application):
        return []
    text = f"No endpoint is served: nothing in {path!r} leads to websockets_app's routing."
    return [checks.Warning(text, hint=_MOUNT, id="websockets_app.W014")]


def leads_to_endpoints(application: object) -> bool:
    """Tell whether WebSockets of `application` can reach our endpoints."""
    return any(part is serve_endpoint for part in reached_by(application))


def reached_by(application: object) -> Iterator[object]:
    """Yield `application` and everything that it may hand a WebSocket to.

    Walks routers, and whatever wraps another application in an attribute or a closure.
    """
    waiting, seen = [application], set[int]()
    while waiting and len(seen) < _MOST_STEPS:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting.extend(_inside(current))


def _inside(application: object) -> list[Any]:
    """Return the applications that `application` may hand a WebSocket to."""
    if isinstance(application, ProtocolTypeRouter):
        return [application.application_mapping.get("websocket")]
    if isinstance(application, URLRouter):
        return [getattr(route, "callback", None) for route in application.routes]
    if isinstance(application, partial):
        return [application.func, *application.args, *application.keywords.values()]
    held = [*getattr(application, "__dict__", {}).values()]
    cells = [_content(cell) for cell in getattr(application, "__closure__", None) or ()]
    return [part for part in (*held, *cells) if callable(part)]


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
