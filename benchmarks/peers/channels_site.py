"""Channels as its tutorial writes it: consumers, `AuthMiddlewareStack`, groups of the layer."""

from __future__ import annotations

import time
from typing import Any

from django.core.asgi import get_asgi_application

http_application = get_asgi_application()  # before what needs the apps to be loaded

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.handlers.blocking import BLOCKED_SECONDS  # noqa: E402
from benchmarks.handlers.room import TEXT  # noqa: E402


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class PlainEcho(WebsocketConsumer):
    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class BlockingEcho(WebsocketConsumer):
    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        time.sleep(BLOCKED_SECONDS)
        self.send(text_data=text_data, bytes_data=bytes_data)


class Members(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        if self.scope["user"].is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Room(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        for _ in range(int(text_data)):
            await self.channel_layer.group_send("room", {"type": "room.text", "text": TEXT})

    async def room_text(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter(
            [
                path("echo", Echo.as_asgi()),
                path("plain", PlainEcho.as_asgi()),
                path("blocking", BlockingEcho.as_asgi()),
                path("members", AuthMiddlewareStack(Members.as_asgi())),
                path("room", Room.as_asgi()),
            ]
        ),
    }
)
