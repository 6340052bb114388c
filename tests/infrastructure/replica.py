"""A router whose reads go to a replica that lags for ever: a database with tables and no rows.

`make test-replica` runs tests with it. Whatever is read from the wrong database isn't there.
"""

from __future__ import annotations

import os
from typing import Any, Final

import pytest

LOGINS: Final = {"auth.User", "sessions.Session"}

PRIMARY: Final = "default"
REPLICA: Final = "replica"

IN_USE: Final = os.environ.get("TEST_ROUTER") == REPLICA


class ReplicaRouter:
    """Reads from the replica and writes to the primary. Logins are read from the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return PRIMARY if model._meta.label in LOGINS else REPLICA

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return PRIMARY

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True


def allow_both_databases(item: pytest.Item) -> None:
    """Let a test that uses the database use the replica as well."""
    marker = item.get_closest_marker("django_db")
    if marker or {"db", "transactional_db"} & set(getattr(item, "fixturenames", ())):
        options = {**(marker.kwargs if marker else {}), "databases": [PRIMARY, REPLICA]}
        item.add_marker(pytest.mark.django_db(**options), append=False)
