"""Checks of the cache for what handlers share: that it is there, and one for all processes."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core import checks

from ..conf import app_settings
from .options import are_usable
from .tags import WEBSOCKETS

_OF_ONE_PROCESS: Final = ("locmem.LocMemCache", "dummy.DummyCache", "filebased.FileBasedCache")


@checks.register(WEBSOCKETS)
def check_shared_cache(**kwargs: Any) -> list[checks.CheckMessage]:
    if not are_usable() or app_settings.SHARED_CACHE is None:
        return []
    cache = settings.CACHES.get(app_settings.SHARED_CACHE)
    if cache is None:
        return [_unknown(app_settings.SHARED_CACHE)]
    if str(cache.get("BACKEND")).endswith(_OF_ONE_PROCESS):
        return [_of_one_process(app_settings.SHARED_CACHE, cache["BACKEND"])]
    return []


def _unknown(alias: str) -> checks.Error:
    return checks.Error(
        f"WEBSOCKETS['SHARED_CACHE'] is {alias!r}, and CACHES has no such cache.",
        hint="Name one of CACHES, or None: a table then keeps what handlers share.",
        id="websockets_app.E050",
    )


def _of_one_process(alias: str, backend: str) -> checks.Warning:
    return checks.Warning(
        f"WEBSOCKETS['SHARED_CACHE'] is {alias!r}, a {backend.rpartition('.')[2]}: what handlers "
        "share would be another thing in each process, or be lost when two write at once.",
        hint="Use Redis, Memcached or the database cache; or None, for a table.",
        id="websockets_app.W051",
    )
