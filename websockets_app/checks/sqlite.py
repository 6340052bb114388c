"""Checks of SQLite, which the server and the runner write at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.core import checks
from django.db import OperationalError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Session
from .tags import WEBSOCKETS

SHORTEST_TIMEOUT: Final = 10


@checks.register(WEBSOCKETS)
def check_sqlite(**kwargs: Any) -> list[checks.CheckMessage]:
    connection = connections[router.db_for_write(Session)]
    if not _is_sqlite_file(connection):
        return []
    return list(_check_options(connection.alias, connection.settings_dict["OPTIONS"]))


@checks.register(WEBSOCKETS, checks.Tags.database)
def check_journal(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    connection = connections[router.db_for_write(Session)]
    if connection.alias not in (databases or ()) or not _is_sqlite_file(connection):
        return []
    if _journal_mode(connection) in ("wal", None):
        return []
    return [
        checks.Warning(
            f"The SQLite database {connection.alias!r} has no write-ahead log: who reads waits "
            "for who writes.",
            hint='Set "init_command": "PRAGMA journal_mode=WAL;" in the database\'s OPTIONS.',
            id="websockets_app.W032",
        )
    ]


def _check_options(alias: str, options: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield checks.Warning(
            f"Transactions of the SQLite database {alias!r} take their write lock late: one that "
            "has read before it writes fails at once with “database is locked”.",
            hint='Set "transaction_mode": "IMMEDIATE" in the database\'s OPTIONS.',
            id="websockets_app.W030",
        )
    if options.get("timeout", 5) < SHORTEST_TIMEOUT:
        yield checks.Warning(
            f"The SQLite database {alias!r} gives up on a lock after less than "
            f"{SHORTEST_TIMEOUT} seconds.",
            hint='Set "timeout": 20 in the database\'s OPTIONS.',
            id="websockets_app.W031",
        )


def _is_sqlite_file(connection: BaseDatabaseWrapper) -> bool:
    in_memory = getattr(connection, "is_in_memory_db", bool)
    return connection.vendor == "sqlite" and not in_memory()


def _journal_mode(connection: BaseDatabaseWrapper) -> str | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            return str(cursor.fetchone()[0])
    except OperationalError:
        return None
