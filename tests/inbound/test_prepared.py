"""A prepared query finds what the model's manager does, where that does, however odd the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.db.models.sql.compiler import SQLCompiler
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from websockets_app.inbound.prepared import PreparedQuery, is_plain

OTHER = "other"


class ReadsOther:
    """A site's router."""

    def db_for_read(self, model: type[models.Model], **hints: object) -> str:
        return OTHER


class BoundManager(models.Manager):
    """A manager that needs no router."""

    def __init__(self) -> None:
        super().__init__()
        self._db = OTHER


class Folded(models.CharField):  # type: ignore[type-arg]
    """Text that is found whatever its case: its lookup, not the field, changes what is sent."""


@Folded.register_lookup
class FoldedExact(Exact):
    def get_db_prep_lookup(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        return ("%s", [value.upper()])


with isolate_apps():

    class Person(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid4)
        name = Folded(max_length=20)
        rank = models.IntegerField(null=True)
        born = models.DateTimeField()

        class Meta:
            app_label = "odd"
            ordering: ClassVar = (Coalesce("rank", models.Value(0)).desc(),)

    class Member(Person):
        rights = models.JSONField()
        friends = models.ManyToManyField("self")

        class Meta:
            app_label = "odd"
            ordering: ClassVar = ("friends__name",)

    class Bound(models.Model):
        number = models.SmallIntegerField(primary_key=True)

        objects = BoundManager()

        class Meta:
            app_label = "odd"


def person(name: str, model: type[Person] = Person, **columns: Any) -> Any:
    return model.objects.using(OTHER).create(name=name, born=timezone.now(), **columns)


def columns_of(row: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.fixture
def other(
    django_db_blocker: DjangoDbBlocker, tmp_path: Path, settings: Settings
) -> Iterator[BaseDatabaseWrapper]:
    """A second database, which the site's router has read from."""
    one = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "other.sqlite3")}
    connections.settings[OTHER] = connections.configure_settings({"default": {}, OTHER: one})[
        OTHER
    ]
    connection = connections[OTHER]
    settings.DATABASE_ROUTERS = [f"{__name__}.{ReadsOther.__qualname__}"]
    with django_db_blocker.unblock():
        with connection.schema_editor() as editor:
            for model in (Person, Member, Bound):
                editor.create_model(model)
        yield connection
    connections[OTHER].close()
    connection.close()
    del connections[OTHER], connections.settings[OTHER]


@pytest.mark.parametrize("model", [Person, Member])
@pytest.mark.usefixtures("other")
def test_a_row_is_found_as_by_the_manager(
    model: type[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: dict[str, Any] = {"rights": {"may": ["all", 1]}} if model is Member else {}
    people = [person(name, model, **columns) for name in ("ANN", "BEN", "CAT")]
    expected = [model._default_manager.get(pk=one.pk) for one in people]
    query = PreparedQuery(model, "pk")
    found = [query.get(people[0].pk)]
    with monkeypatch.context() as made_once:
        made_once.delattr(SQLCompiler, "as_sql")
        found += [query.get(one.pk) for one in people[1:]]

    assert is_plain(model)
    assert [*map(columns_of, found)] == [*map(columns_of, expected)]
    assert [(row._state.db, row._state.adding) for row in found] == [(OTHER, False)] * 3
    assert query.get(UUID(int=0)) is None


def test_a_connection_that_was_replaced_is_not_used(other: BaseDatabaseWrapper) -> None:
    ann = person("ANN")
    query = PreparedQuery(Person, "pk")
    assert query.get(ann.pk) == ann
    del connections[OTHER]

    with CaptureQueriesContext(connections[OTHER]) as queries:
        assert query.get(ann.pk) == ann

    assert connections[OTHER] is not other
    assert len(queries) == 1


def test_a_managers_own_database_is_asked(other: BaseDatabaseWrapper, settings: Settings) -> None:
    settings.DATABASE_ROUTERS = []
    Bound.objects.create(number=7)
    query = PreparedQuery(Bound, "pk")

    with CaptureQueriesContext(other) as queries:
        assert query.get(7) == Bound(number=7)

    assert len(queries) == 1


@pytest.mark.parametrize("names", [("ann", "ben", "dan"), ("ANN", "ben", "DAN")])
@pytest.mark.usefixtures("other")
def test_a_lookup_of_a_sites_own_has_its_say_each_time(names: tuple[str, ...]) -> None:
    """Whether or not it changes the value that comes first."""
    people = [person(name) for name in ("ANN", "BEN")]
    query = PreparedQuery(Person, "name")

    assert [query.get(name) for name in names] == [*people, None]


@pytest.mark.parametrize("first", [7, 10**30])
@pytest.mark.usefixtures("other")
def test_a_value_that_no_row_can_have_is_found_nowhere(first: int) -> None:
    Bound.objects.create(number=7)
    query = PreparedQuery(Bound, "pk")

    assert query.get(first) == (Bound(number=7) if first == 7 else None)
    assert query.get(10**30) is None
    assert query.get(7) == Bound(number=7)
