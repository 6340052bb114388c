"""Rows that are read from the database that they are written to.

What nodes keep in these tables decides what they write next, and a replica lags: a runner would
miss the lease that it has just claimed. So no router's `db_for_read` is asked about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.db import connections, models, router, transaction

ModelT = TypeVar("ModelT", bound=models.Model)


def rows_to_write(model: type[ModelT]) -> models.QuerySet[ModelT]:
    """Return all rows of another app's `model`, from the database that they are written to."""
    return model._default_manager.using(router.db_for_write(model))


class PrimaryQuerySet(models.QuerySet[ModelT]):
    """Query sets that read from the database that they write to; `using()` names another."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._for_write = True  # as in Django's select_for_update(): `db` asks `db_for_write`

    def upsert(self, rows: Iterable[ModelT], *, unique: list[str], update: Sequence[str]) -> None:
        """Insert `rows`; where `unique` holds that there is one already, write its `update`.

        MySQL and MariaDB know no target: they update at a conflict of any unique constraint.
        """
        has_target = connections[self.db].features.supports_update_conflicts_with_target
        self.bulk_create(
            rows,
            update_conflicts=True,
            update_fields=update,
            unique_fields=unique if has_target else None,
        )

    def atomic(self) -> transaction.Atomic:
        """Return `transaction.atomic()` for the database that these rows are written to."""
        return transaction.atomic(using=self.db)
