"""Checks of PostgreSQL: that a pool of connections has some for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core import checks
from django.db import connections, router

from ..conf import app_settings
from ..models import Session
from ..node.node import LOOKUP_THREADS
from .options import are_usable
from .tags import WEBSOCKETS

LASTING: Final = 4
"""Connections that a process keeps: for its lease, rows, events, and logins or its outbox."""
SHARED: Final = 1
"""Django's own thread, in which async middlewares use the ORM."""
DEFAULT_SIZE: Final = 4
"""What the library psycopg_pool takes where nobody says."""


@checks.register(WEBSOCKETS)
def check_pool(**kwargs: Any) -> list[checks.CheckMessage]:
    connection = connections[router.db_for_write(Session)]
    pool = connection.settings_dict["OPTIONS"].get("pool")
    if connection.vendor != "postgresql" or not pool or not are_usable():
        return []
    size = _size(pool)
    needed = LASTING + LOOKUP_THREADS + SHARED
    if size >= needed:
        return []
    most = needed + app_settings.SYNC_THREADS + app_settings.SYNC_TO_ASYNC_THREADS
    return [
        checks.Warning(
            f"The pool of the database {connection.alias!r} has {size} connections for a process, "
            f"of which this app keeps {LASTING} for itself, and needs up to {needed} even where "
            "no handler uses the ORM.",
            hint=f'Set "pool": {{"max_size": {most}}} in OPTIONS, which is enough for all '
            f"handlers, or {needed} if no handler uses the ORM.",
            id="websockets_app.W033",
        )
    ]


def _size(pool: object) -> int:
    given: Mapping[str, Any] = pool if isinstance(pool, Mapping) else {}
    return int(given.get("max_size") or given.get("min_size", DEFAULT_SIZE))
