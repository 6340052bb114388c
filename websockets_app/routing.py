"""How a site mounts its endpoints. Import-light: usable before `django.setup()`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.urls import re_path

Application = Callable[..., Awaitable[None]]


async def serve_endpoint(scope: Any, receive: Any, send: Any) -> None:
    """Serve whatever endpoint the path leads to: the ASGI application behind the one route."""
    from .inbound.consumers import EndpointConsumer

    await EndpointConsumer()(scope, receive, send)


async def serve_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Begin with the server and drain before it ends, where the server has a lifespan."""
    from .inbound.serving import get_serving, stop_serving

    await receive()  # lifespan.startup
    await get_serving()
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown
    await stop_serving()
    await send({"type": "lifespan.shutdown.complete"})


# Django's type of a view has no place for the ASGI applications that Channels routes to.
websocket_urlpatterns: list[Any] = [re_path("", serve_endpoint)]  # type: ignore[arg-type]
"""The last patterns of a site's own `URLRouter`: what reaches them is ours to answer."""


def with_websockets(http_application: Application) -> ProtocolTypeRouter:
    """Return an ASGI application that serves HTTP by `http_application`, and the endpoints."""
    return ProtocolTypeRouter(
        {
            "http": http_application,
            "websocket": serve_endpoint,  # a URLRouter would keep a scope of its own for each
            "lifespan": serve_lifespan,
        }
    )
