"""chanx on Channels: a message is a Pydantic model, a handler a method typed with it."""

from __future__ import annotations

from typing import Literal

from django.core.asgi import get_asgi_application

http_application = get_asgi_application()  # before what needs the apps to be loaded

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from chanx.channels.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from chanx.core.decorators import channel, ws_handler  # noqa: E402
from chanx.messages.base import BaseMessage  # noqa: E402
from django.urls import path  # noqa: E402


class EchoMessage(BaseMessage):
    action: Literal["echo"] = "echo"
    payload: str


class EchoAnswer(BaseMessage):
    action: Literal["answer"] = "answer"
    payload: str


@channel(name="echo", description="Echo")
class Echo(AsyncJsonWebsocketConsumer):
    @ws_handler(output_type=EchoAnswer)
    async def handle_echo(self, message: EchoMessage) -> EchoAnswer:
        return EchoAnswer(payload=message.payload)


application = ProtocolTypeRouter(
    {"http": http_application, "websocket": URLRouter([path("echo", Echo.as_asgi())])}
)
