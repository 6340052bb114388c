"""Rows as tuples, straight into their table: what `bulk_create` sends, for a fraction of its CPU.

For each row Django makes an instance and prepares each value on its own, which takes several times
what the database does. Here the values are those that a driver takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import chain
from math import modf
from typing import Any, Final

from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict

from .facts import moment, storable

Row = tuple[Any, ...]

ROWS_A_STATEMENT: Final = 50
"""SQLite prepares a statement's CHECKs at each execution, Django looks for each `%s` at each call:
neither is dear with so many rows at once, executed again and again."""


class Insertion:
    """Writes rows of one table, in a transaction: what is there already is updated, or left."""

    def __init__(
        self,
        model: type[models.Model],
        columns: Sequence[str],
        *,
        unique: Sequence[str],
        updated: Sequence[str] = (),
    ) -> None:
        self.columns = columns
        self._model = model
        self._unique = unique
        self._updated = updated

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The connection of this thread that the site's routers choose."""
        return connections[router.db_for_write(self._model)]

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write `rows`, and update those that are there already, or leave them."""
        if self.connection.vendor == "postgresql":
            self._upsert_as_json(rows)
            return
        at_once = self._rows_a_statement
        whole = len(rows) - len(rows) % at_once
        with self.connection.cursor() as cursor:
            if whole:
                parts = range(0, whole, at_once)
                values = [_flat(rows[part : part + at_once]) for part in parts]
                cursor.executemany(self._statement(at_once), values)
            if rest := rows[whole:]:
                cursor.execute(self._statement(len(rest)), _flat(rest))

    def _upsert_as_json(self, rows: Sequence[Row]) -> None:
        """Write `rows` by one parameter: for thousands psycopg takes three times as long."""
        names = self._column_names(self.columns)
        named = [dict(zip(names, row, strict=True)) for row in rows]
        with self.connection.cursor() as cursor:
            cursor.execute(self._statement_for_json, [json.dumps(named, default=_as_json)])

    def copy(self, rows: Iterable[Row]) -> None:
        """Write `rows`, of which none may be there, by PostgreSQL's COPY. Needs psycopg 3."""
        statement = f"COPY {self._into} FROM STDIN"
        connection: Any = self.connection
        with (
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(statement) as copying,
        ):
            for row in rows:
                copying.write_row(row)

    @cached_property
    def can_copy(self) -> bool:
        """Whether the database and its driver know COPY as it is used here."""
        driver = getattr(self.connection, "Database", None)
        return getattr(driver, "__name__", "") == "psycopg"

    def _statement(self, rows: int) -> str:
        row = f"({', '.join(['%s'] * len(self.columns))})"
        values = ", ".join([row] * rows)
        # All of it are names of the model's.
        return f"{self._insert} INTO {self._into} VALUES {values} {self._on_conflict}"

    @cached_property
    def _statement_for_json(self) -> str:
        read = f"json_populate_recordset(NULL::{self._table}, %s::json)"
        rows = f"SELECT {self._quoted_columns} FROM {read}"  # noqa: S608 - names of the model's
        return f"{self._insert} INTO {self._into} {rows} {self._on_conflict}"

    @cached_property
    def _insert(self) -> str:
        """The verb: a statement that fails undoes nothing, since the transaction undoes it all.

        SQLite would copy each page that a statement changes into a file, to undo it alone. Where
        a conflict updates, it does so whatever the verb.
        """
        may_fail = self.connection.vendor == "sqlite" and not self._updated
        return "INSERT OR FAIL" if may_fail else "INSERT"

    @cached_property
    def _rows_a_statement(self) -> int:
        most = self.connection.features.max_query_params  # an old SQLite takes 999
        return min(ROWS_A_STATEMENT, most // len(self.columns)) if most else ROWS_A_STATEMENT

    @cached_property
    def _into(self) -> str:
        return f"{self._table} ({self._quoted_columns})"

    @cached_property
    def _table(self) -> str:
        return self.connection.ops.quote_name(self._model._meta.db_table)

    @cached_property
    def _quoted_columns(self) -> str:
        return ", ".join(map(self.connection.ops.quote_name, self._column_names(self.columns)))

    @cached_property
    def _on_conflict(self) -> str:
        unique = self._column_names(self._unique)
        if not self._updated and self.connection.features.supports_update_conflicts_with_target:
            # Django's way to ignore a conflict has SQLite ignore rows that break any constraint.
            quoted = map(self.connection.ops.quote_name, unique)
            return f"ON CONFLICT ({', '.join(quoted)}) DO NOTHING"
        return self.connection.ops.on_conflict_suffix_sql(
            [self._field(name) for name in self.columns],
            OnConflict.UPDATE,
            self._column_names(self._updated or self._unique),
            unique,
        )

    def _column_names(self, names: Iterable[str]) -> list[str]:
        return [self._field(name).column for name in names]

    def _field(self, name: str) -> Any:
        return self._model._meta.get_field(name)


def clock(connection: BaseDatabaseWrapper) -> Callable[[float], Any]:
    """Return what makes of seconds since the epoch what the driver takes as a time.

    Where that is text, as for SQLite and MySQL, it is made once for each second.
    """
    as_value: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
    if connection.vendor not in ("sqlite", "mysql"):
        return lambda at: as_value(moment(at))
    seconds: dict[float, str] = {}

    def as_text(at: float) -> str:
        fraction, second = modf(at)
        micros = round(fraction * 1e6)  # not of `at * 1e6`, which is rounded already
        if micros == 1_000_000:
            second, micros = second + 1, 0
        text = seconds.get(second)
        if text is None:
            text = seconds[second] = as_value(moment(second))
        return f"{text}.{micros:06}" if micros else text  # as Django writes it

    return as_text


def documents(connection: BaseDatabaseWrapper) -> Callable[[Any], Any]:
    """Return what makes of a value for a column of JSON what `Insertion.upsert` takes there."""
    if connection.vendor == "postgresql":
        return storable
    return lambda value: json.dumps(storable(value))


def flags(connection: BaseDatabaseWrapper) -> Mapping[bool | None, Any]:
    """Return what the driver takes as a truth value: SQLite's takes its time for a `bool`."""
    if connection.vendor == "sqlite":
        return {None: None, False: 0, True: 1}
    return {None: None, False: False, True: True}


def _as_json(value: Any) -> str:
    """Return a time as PostgreSQL reads it; raise `TypeError` for what isn't one."""
    return datetime.isoformat(value)


def _flat(rows: Iterable[Row]) -> list[Any]:
    return list(chain.from_iterable(rows))
