"""djangochannelsrestframework: a consumer with actions, as its documentation begins."""

from __future__ import annotations

from typing import Any

from django.core.asgi import get_asgi_application

http_application = get_asgi_application()  # before what needs the apps to be loaded

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402
from djangochannelsrestframework.consumers import AsyncAPIConsumer  # noqa: E402
from djangochannelsrestframework.decorators import action  # noqa: E402
from djangochannelsrestframework.permissions import AllowAny  # noqa: E402


class Echo(AsyncAPIConsumer):
    permission_classes = (AllowAny,)

    @action()
    async def echo(self, text: str, **rest: Any) -> tuple[dict[str, str], int]:
        return {"text": text}, 200


application = ProtocolTypeRouter(
    {"http": http_application, "websocket": URLRouter([path("echo", Echo.as_asgi())])}
)
