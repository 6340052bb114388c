"""Checks of the database: that it is one that this app supports, and one alone for its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.apps import apps
from django.core import checks
from django.db import OperationalError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import app_settings
from ..models import Session
from .options import are_usable
from .tags import WEBSOCKETS

SUPPORTED: Final = {
    "mysql": "MySQL, MariaDB",
    "postgresql": "PostgreSQL",
    "sqlite": "SQLite",
}
LEAST_PACKET: Final = 16 * 1024 * 1024
"""Bytes of a packet that takes 50 rows of events with the longest payloads and tracebacks."""


@checks.register(WEBSOCKETS)
def check_databases(**kwargs: Any) -> list[checks.CheckMessage]:
    models = apps.get_app_config("websockets_app").get_models()
    aliases = sorted({router.db_for_write(model) for model in models})
    return [
        *_check_vendors(connections[alias] for alias in aliases),
        *_check_number(aliases),
    ]


@checks.register(WEBSOCKETS)
def check_mysql(**kwargs: Any) -> list[checks.CheckMessage]:
    connection = connections[router.db_for_write(Session)]
    level = connection.settings_dict["OPTIONS"].get("isolation_level", "read committed")
    if connection.vendor != "mysql" or str(level).lower() == "read committed":
        return []
    return [
        checks.Warning(
            f"The database {connection.alias!r} has the isolation level {level!r}: nodes that "
            "write at the same time lock more rows than they change, and run into deadlocks.",
            hint='Set "isolation_level": "read committed" in the database\'s OPTIONS, or remove '
            "the option: this is Django's default.",
            id="websockets_app.W036",
        )
    ]


@checks.register(WEBSOCKETS, checks.Tags.database)
def check_mysql_server(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    connection = connections[router.db_for_write(Session)]
    if connection.alias not in (databases or ()) or connection.vendor != "mysql":
        return []
    if not are_usable() or (variables := _variables(connection)) is None:
        return []
    return [*_check_charset(connection, variables), *_check_packet(connection, variables)]


def _check_vendors(used: Iterator[BaseDatabaseWrapper]) -> Iterator[checks.CheckMessage]:
    for connection in used:
        if connection.vendor not in SUPPORTED:
            yield checks.Error(
                f"The database {connection.alias!r} is {connection.display_name}, which this app "
                "doesn't support.",
                hint=f"Use one of {', '.join(SUPPORTED.values())}. A database router can send "
                "this app's tables to a database of their own.",
                id="websockets_app.E034",
            )


def _check_number(aliases: list[str]) -> Iterator[checks.CheckMessage]:
    if len(aliases) > 1:
        yield checks.Error(
            f"The database routers spread this app's tables over {', '.join(aliases)}.",
            hint="Let db_for_write return the same database for all models of websockets_app: "
            "the app changes several tables in one transaction.",
            id="websockets_app.E035",
        )


def _check_charset(
    connection: BaseDatabaseWrapper, variables: Mapping[str, str]
) -> Iterator[checks.CheckMessage]:
    charset = variables["character_set_database"]
    if charset != "utf8mb4":
        yield checks.Warning(
            f"The database {connection.alias!r} has the character set {charset}: it can't store "
            "every text, for example no emoji. Events with such a text are not recorded.",
            hint="ALTER DATABASE … CHARACTER SET utf8mb4, and convert the tables that are there.",
            id="websockets_app.W037",
        )


def _check_packet(
    connection: BaseDatabaseWrapper, variables: Mapping[str, str]
) -> Iterator[checks.CheckMessage]:
    # A character may need a backslash before it.
    needed = max(LEAST_PACKET, 2 * app_settings.OUTBOX_MESSAGE_SIZE + 1024 * 1024)
    packet = int(variables["max_allowed_packet"])
    if packet < needed:
        yield checks.Warning(
            f"The server of the database {connection.alias!r} accepts statements of {packet} "
            f"bytes, and this app may send {needed}: the largest messages of an outbox, or whole "
            "batches of events, can't be written.",
            hint=f"Set max_allowed_packet to {needed} in the server's configuration, or lower "
            "WEBSOCKETS['OUTBOX_MESSAGE_SIZE'].",
            id="websockets_app.W038",
        )


def _variables(connection: BaseDatabaseWrapper) -> dict[str, str] | None:
    """Return the server's variables that the checks read; None if it doesn't answer."""
    names = ("character_set_database", "max_allowed_packet")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW VARIABLES WHERE variable_name IN (%s, %s)", names)
            return dict(cursor.fetchall())
    except OperationalError:
        return None
