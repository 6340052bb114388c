"""What a data migration changes is noticed: historical models have none of our methods."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from django.apps.registry import Apps
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations import Migration, RunSQL
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models import signals
from pytest_django import DjangoCaptureOnCommitCallbacks

from websockets_app.models import Client, Endpoint, EndpointGroup
from websockets_app.models.primary import rows_to_write
from websockets_app.models.receivers import draw_revisions
from websockets_app.signals import descriptors_changed

pytestmark = pytest.mark.django_db


def historical_apps() -> Apps:
    """Return the models that a migration after all others gets."""
    return MigrationLoader(connection).project_state().apps


@pytest.fixture
def historical() -> Apps:
    return historical_apps()


def model(historical: Apps, name: str) -> Any:
    label = "auth" if name == "Group" else "websockets_app"
    found = historical.get_model(label, name)
    assert found not in {Endpoint, Client, EndpointGroup, Group}
    return found


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint.objects.create(endpoint="echo", handler="handlers.echo")


@pytest.fixture
def other() -> Endpoint:
    return Endpoint.objects.create(endpoint="other", handler="handlers.echo")


@pytest.fixture
def group() -> Group:
    return Group.objects.create(name="ops")


Way = Callable[[Any, Any], object]
"""What is done with the historical model of a descriptor, and with a row of it."""


def save(rows: Any, row: Any) -> None:
    row.description = "new"
    row.save()


def save_of_named_fields(rows: Any, row: Any) -> None:
    row.description = "new"
    row.save(update_fields=["description"])


def save_of_a_row_with_deferred_fields(rows: Any, row: Any) -> None:
    partly = rows.objects.only("description").get(pk=row.pk)
    partly.description = "new"
    partly.save()


def update(rows: Any, row: Any) -> None:
    rows.objects.filter(pk=row.pk).update(description="new")


def update_by_the_base_manager(rows: Any, row: Any) -> None:
    rows._base_manager.update(description="new")


def bulk_update(rows: Any, row: Any) -> None:
    row.description = "new"
    rows.objects.bulk_update([row], ["description"])


def update_or_create(rows: Any, row: Any) -> None:
    rows.objects.update_or_create({"description": "new"}, pk=row.pk)


def upsert(rows: Any, row: Any) -> None:
    name = "endpoint" if hasattr(row, "endpoint") else "name"
    row.pk, row.description = None, "new"
    rows.objects.upsert([row], unique=[name], update=["description"])


WAYS: list[Way] = [
    save, save_of_named_fields, save_of_a_row_with_deferred_fields, update,
    update_by_the_base_manager, bulk_update, update_or_create, upsert,
]  # fmt: skip


@pytest.mark.parametrize("real", [Endpoint, Client])
@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_a_row_draws_a_new_revision(
    historical: Apps, way: Way, real: type[Endpoint] | type[Client]
) -> None:
    names = {"endpoint": "echo"} if real is Endpoint else {"name": "echo", "uri": "ws://x/"}
    stored = real._default_manager.create(handler="handlers.echo", **names)
    watermark = real.objects.watermark()
    rows = model(historical, real.__name__)
    way(rows, rows.objects.get(pk=stored.pk))
    after = real.objects.get()
    assert after.description == "new"
    assert after.revision != stored.revision
    assert real.objects.watermark() != watermark


def test_a_row_that_is_added_or_deleted_moves_the_watermark(historical: Apps) -> None:
    rows = model(historical, "Endpoint")
    seen = [Endpoint.objects.watermark()]
    for number in range(2):
        rows.objects.bulk_create(
            [rows(endpoint=f"{number}-{each}", handler="handlers.echo") for each in "ab"]
        )
        seen.append(Endpoint.objects.watermark())
    rows.objects.first().delete()
    seen.append(Endpoint.objects.watermark())
    rows.objects.filter(endpoint__startswith="1").delete()
    seen.append(Endpoint.objects.watermark())
    assert len(set(seen)) == len(seen)
    revisions = Endpoint.objects.revisions()
    assert len(set(revisions.values())) == len(revisions)


GroupWay = Callable[[Any, Any, Any], object]
"""What is done with the historical through model, and historical rows of an endpoint and group."""


def through_row_saved(through: Any, endpoint: Any, group: Any) -> None:
    through(endpoint=endpoint, group=group).save()


def through_rows_created_in_bulk(through: Any, endpoint: Any, group: Any) -> None:
    through.objects.bulk_create([through(endpoint=endpoint, group=group)])


def added(through: Any, endpoint: Any, group: Any) -> None:
    endpoint.groups.add(group)


def set_from_the_other_side(through: Any, endpoint: Any, group: Any) -> None:
    group.endpoint_set.set([endpoint])


@pytest.mark.parametrize(
    "way", [through_row_saved, through_rows_created_in_bulk, added, set_from_the_other_side]
)
def test_a_group_that_an_endpoint_gets_draws_a_new_revision(
    historical: Apps, endpoint: Endpoint, group: Group, way: GroupWay
) -> None:
    way(*rows_of(historical, endpoint, group))
    assert EndpointGroup.objects.exists()
    assert Endpoint.objects.get().revision != endpoint.revision


def through_row_deleted(through: Any, endpoint: Any, group: Any) -> None:
    through.objects.get().delete()


def through_rows_deleted(through: Any, endpoint: Any, group: Any) -> None:
    through.objects.all().delete()


def removed(through: Any, endpoint: Any, group: Any) -> None:
    endpoint.groups.remove(group)


def cleared(through: Any, endpoint: Any, group: Any) -> None:
    endpoint.groups.clear()


def cleared_from_the_other_side(through: Any, endpoint: Any, group: Any) -> None:
    group.endpoint_set.clear()


@pytest.mark.parametrize(
    "way",
    [through_row_deleted, through_rows_deleted, removed, cleared, cleared_from_the_other_side],
)
def test_a_group_that_leaves_an_endpoint_draws_a_new_revision(
    historical: Apps, endpoint: Endpoint, group: Group, way: GroupWay
) -> None:
    EndpointGroup.objects.create(endpoint=endpoint, group=group)
    before = Endpoint.objects.get().revision
    way(*rows_of(historical, endpoint, group))
    assert not EndpointGroup.objects.exists()
    assert Endpoint.objects.get().revision != before


def moved_by_save(through: Any, to: Any) -> None:
    row = through.objects.get()
    row.endpoint = to
    row.save()


def moved_by_update(through: Any, to: Any) -> None:
    through.objects.update(endpoint=to)


def moved_by_bulk_update(through: Any, to: Any) -> None:
    row = through.objects.get()
    row.endpoint = to
    through.objects.bulk_update([row], ["endpoint"])


@pytest.mark.parametrize("move", [moved_by_save, moved_by_update, moved_by_bulk_update])
def test_a_group_that_moves_to_another_endpoint_draws_a_new_revision_of_both(
    historical: Apps,
    endpoint: Endpoint,
    other: Endpoint,
    group: Group,
    move: Callable[[Any, Any], object],
) -> None:
    EndpointGroup.objects.create(endpoint=endpoint, group=group)
    before = Endpoint.objects.revisions()
    through, to, _ = rows_of(historical, other, group)
    move(through, to)
    assert EndpointGroup.objects.get().endpoint == other
    after = Endpoint.objects.revisions()
    assert all(after[row.pk] != before[row.pk] for row in (endpoint, other))


def rows_of(historical: Apps, endpoint: Endpoint, group: Group) -> tuple[Any, Any, Any]:
    """Return the historical through model, and both rows as historical ones."""
    return (
        model(historical, "EndpointGroup"),
        model(historical, "Endpoint").objects.get(pk=endpoint.pk),
        rows_to_write(model(historical, "Group")).get(pk=group.pk),
    )


@pytest.mark.parametrize("way", [save, save_of_named_fields, update])
def test_a_change_is_announced_after_its_commit(
    historical: Apps,
    endpoint: Endpoint,
    way: Way,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    heard: list[type] = []

    def hear(sender: type, **kwargs: Any) -> None:
        heard.append(sender)

    descriptors_changed.connect(hear)
    try:
        rows = model(historical, "Endpoint")
        with django_capture_on_commit_callbacks(execute=True):
            way(rows, rows.objects.get())
            assert not heard
    finally:
        descriptors_changed.disconnect(hear)
    assert heard == [rows]


def test_historical_models_leave_no_receivers_behind() -> None:
    def receivers() -> int:
        gc.collect()
        signals.pre_save.connect(receivers)  # which also drops those that are gone
        signals.pre_save.disconnect(receivers)
        return len(signals.pre_save.receivers)

    before = receivers()
    historical_apps()
    historical_apps()
    assert receivers() <= before


# Raw SQL


class ChangesAccess(Migration):
    """A migration of some site, which knows nothing of revisions."""

    operations = (RunSQL("UPDATE websockets_app_endpoint SET access = 'staff'", RunSQL.noop),)


@pytest.mark.django_db(transaction=True)
def test_raw_sql_of_a_migration_draws_new_revisions(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = MigrationLoader.build_graph

    def with_another(self: MigrationLoader) -> None:
        load(self)
        key, last = ("websockets_app", "9999_access"), self.graph.leaf_nodes("websockets_app")[0]
        self.disk_migrations[key] = migration = ChangesAccess(key[1], key[0])
        self.graph.add_node(key, migration)
        self.graph.add_dependency(migration, key, last)

    monkeypatch.setattr(MigrationLoader, "build_graph", with_another)
    try:
        call_command("migrate", "websockets_app", verbosity=0)
        after = Endpoint.objects.get()
        assert after.access == "staff"
        assert after.revision != endpoint.revision
        call_command("migrate", "websockets_app", verbosity=0)  # nothing is left to do
        assert Endpoint.objects.get().revision == after.revision
    finally:
        MigrationExecutor(connection).recorder.record_unapplied("websockets_app", "9999_access")


def test_before_our_tables_are_there_nothing_is_written(historical: Apps) -> None:
    draw_revisions("default", Apps(), plan=[object()])


def test_another_database_without_our_tables_is_left_alone(
    historical: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websockets_app.models.receivers.router", NoMigrations())
    draw_revisions("nowhere", historical, plan=[object()])


class NoMigrations:
    """A router of a database that has none of our tables."""

    def allow_migrate_model(self, using: str, of: type[models.Model]) -> bool:
        return False
