"""Channel layers on a real Valkey, configured in the process of the test."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from pytest_django import Settings

CORE: Final = "channels_redis.core.RedisChannelLayer"
PUBSUB: Final = "channels_redis.pubsub.RedisPubSubChannelLayer"


def use_layer(settings: Settings, url: str, backend: str = CORE, **options: Any) -> str:
    """Configure the layer of the demo site, with a prefix of the test's own; return that."""
    host = {"address": url, "socket_timeout": None, **options}
    prefix = uuid4().hex
    config = {"hosts": [host], "prefix": prefix}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    return prefix
