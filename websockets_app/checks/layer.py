"""Checks of the channel layer: that it reaches other processes, and lives through idle times."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core import checks
from django.utils.version import get_version_tuple

from ..conf import app_settings
from .options import are_usable
from .tags import WEBSOCKETS

IN_MEMORY: Final = "channels.layers.InMemoryChannelLayer"
REDIS_CORE: Final = "channels_redis.core.RedisChannelLayer"
BLOCKING_POP: Final = 5.0
"""Seconds that the core layer of channels-redis waits for a message in one command."""


@checks.register(WEBSOCKETS)
def check_layer(**kwargs: Any) -> list[checks.CheckMessage]:
    if not are_usable():
        return []
    alias = app_settings.CHANNEL_LAYER
    if alias is not None and alias != "default" and alias not in _layers():
        return [
            checks.Error(
                f"WEBSOCKETS['CHANNEL_LAYER'] is {alias!r}, and CHANNEL_LAYERS has no such layer.",
                hint="Name one of CHANNEL_LAYERS, or None: changes are then noticed by polling.",
                id="websockets_app.E020",
            )
        ]
    layer = _layer()
    if layer.get("BACKEND") == REDIS_CORE and any(map(_times_out, _hosts(layer))):
        return [_dies_idle()]
    return []


@checks.register(WEBSOCKETS, deploy=True)
def check_layer_spans_processes(**kwargs: Any) -> list[checks.CheckMessage]:
    if not are_usable() or _layer().get("BACKEND") not in (None, IN_MEMORY):
        return []
    return [
        checks.Warning(
            "The channel layer doesn't span processes: each sees the others' changes by polling "
            "alone, and can't reach the others' sessions.",
            hint="Configure channels-redis in CHANNEL_LAYERS; with a single server process and "
            "no runner, silence this.",
            id="websockets_app.W021",
        )
    ]


def _dies_idle() -> checks.Warning:
    return checks.Warning(
        f"The channel layer's connections to Redis time out within {BLOCKING_POP:g} seconds, "
        "which is as long as the layer waits for a message: an idle site's consumers die with "
        "TimeoutError.",
        hint='Write each host as {"address": "redis://…", "socket_timeout": None}. Since version '
        "8 redis-py has a timeout of 5 seconds by default.",
        id="websockets_app.W022",
    )


def _layers() -> Mapping[str, Any]:
    return getattr(settings, "CHANNEL_LAYERS", None) or {}


def _layer() -> Mapping[str, Any]:
    layer: Mapping[str, Any] = _layers().get(app_settings.CHANNEL_LAYER or "", {})
    return layer


def _hosts(layer: Mapping[str, Any]) -> list[Any]:
    hosts = layer.get("CONFIG", {}).get("hosts") or ["redis://localhost:6379"]
    return hosts if isinstance(hosts, list) else list(hosts)


def _times_out(host: Any) -> bool:
    """Tell whether a connection to `host` gives up before the blocking pop has ended."""
    given = _given_timeout(host)
    timeout = _default_timeout() if given is _NOT_GIVEN else given
    return timeout is not None and float(timeout) <= BLOCKING_POP


_NOT_GIVEN: Final = object()


def _given_timeout(host: Any) -> Any:
    if isinstance(host, Mapping) and "socket_timeout" in host:
        return host["socket_timeout"]
    address = host.get("address") if isinstance(host, Mapping) else host
    if isinstance(address, str):
        given = parse_qs(urlsplit(address).query).get("socket_timeout")
        return given[0] if given else _NOT_GIVEN
    return _NOT_GIVEN


def _default_timeout() -> float | None:
    try:
        has_one = get_version_tuple(version("redis")) >= (8,)
    except PackageNotFoundError:
        return None
    return BLOCKING_POP if has_one else None
