"""One row, asked for at each handshake: Django makes the SQL once, not each time anew.

To build and compile a query takes several times what the database and its driver do for it.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query import QuerySet


def is_plain(model: type[models.Model]) -> bool:
    """Tell whether `model` is queried as Django does: a site's manager may add what changes."""
    manager = type(model._default_manager)
    return (
        manager.get is models.Manager.get
        and manager.get_queryset is models.Manager.get_queryset
        and getattr(manager, "_queryset_class", None) is QuerySet
    )


class PreparedQuery(threading.local):
    """What `model._default_manager.get(...)` does, for a model that `is_plain`.

    It belongs to the thread, as connections do, which know how to read their values.
    """

    def __init__(self, model: type[models.Model], *lookups: str) -> None:
        self._model: Final = model
        self._lookups: Final = lookups
        self._compiled: dict[str, _Compiled] = {}

    def get(self, *values: Any) -> Any:
        """Return the row for which the lookups' `values` hold, or None. One query."""
        query = dict(zip(self._lookups, values, strict=True))
        connection = connections[self._model._default_manager.db]  # as a router says now
        try:
            compiled = self._compiled.get(connection.alias)
            if compiled is None or compiled.connection is not connection:
                compiled = _Compiled(self._model, query, connection)
                self._compiled[connection.alias] = compiled
            return compiled.get(query)
        except (EmptyResultSet, OverflowError):  # beyond what the column can hold
            return None


class _Compiled:
    """A query for a row as one connection sends it; its values are those of each call."""

    def __init__(
        self, model: type[models.Model], query: dict[str, Any], connection: BaseDatabaseWrapper
    ) -> None:
        self.connection: Final = connection
        self._model: Final = model
        self._fields = [_field(model, name) for name in query]
        rows = self._rows()
        for lookup in query.items():  # one by one: the parameters are in this order
            rows = rows.filter(lookup)
        self._compiler: Any = rows.query.get_compiler(connection=connection)
        self._sql, _ = self._compiler.as_sql()
        columns = [column for column, *_ in self._compiler.select]
        self._names = [column.target.attname for column in columns]
        self._converters = self._compiler.get_converters(columns)
        # A lookup of a site's own may make other parameters of some values than the field does.
        self._is_prepared = all(
            type(lookup).__module__.startswith(f"{models.__name__}.")
            for lookup in rows.query.where.children
        )

    def get(self, query: dict[str, Any]) -> Any:
        if not self._is_prepared:
            return self._rows().filter(**query).first()
        with self.connection.cursor() as cursor:
            cursor.execute(self._sql, self._parameters(query))
            found = cursor.fetchone()
        if found is None:
            return None
        if self._converters:
            (found,) = self._compiler.apply_converters([found], self._converters)
        return self._model.from_db(self.connection.alias, self._names, found)

    def _rows(self) -> QuerySet[Any]:
        """Return all rows in no order: a model's own may have parameters, or join tables."""
        return self._model._default_manager.using(self.connection.alias).order_by()

    def _parameters(self, query: dict[str, Any]) -> list[Any]:
        return [
            field.get_db_prep_value(value, self.connection)
            for field, value in zip(self._fields, query.values(), strict=True)
        ]


def _field(model: type[models.Model], lookup: str) -> Any:
    """Return the field that `lookup` names, as `pk` or `expire_date__gt`."""
    name, *_ = lookup.partition("__")
    return model._meta.pk if name == "pk" else model._meta.get_field(name)


@cache
def prepared(model: type[models.Model], *lookups: str) -> PreparedQuery:
    """Return the only `PreparedQuery` of its kind."""
    return PreparedQuery(model, *lookups)
