"""Each way that Django offers to change a descriptor is noticed by its revision."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, ProtectedError
from pytest_django import DjangoCaptureOnCommitCallbacks

from websockets_app.models import Client, Endpoint, EndpointGroup
from websockets_app.models.descriptor import Watermark
from websockets_app.signals import descriptors_changed

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint.objects.create(endpoint="echo", handler="handlers.echo")


@pytest.fixture
def other() -> Endpoint:
    return Endpoint.objects.create(endpoint="other", handler="handlers.echo")


@pytest.fixture
def group() -> Group:
    return Group.objects.create(name="chatters")


def stored(endpoint: Endpoint) -> Endpoint:
    return Endpoint.objects.get(pk=endpoint.pk)


def revision(row: Endpoint | Client) -> int:
    return int(type(row).objects.values_list("revision", flat=True).get(pk=row.pk))


Way = Callable[[Endpoint], object]
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    """Take a way of changing an endpoint's description."""
    WAYS[function.__name__] = function
    return function


@way
def save(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    endpoint.save()


@way
def save_of_named_fields(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    endpoint.save(update_fields=["description"])


@way
def save_of_named_fields_from_an_iterator(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    endpoint.save(update_fields=iter(["description"]))


@way
def save_of_a_row_with_deferred_fields(endpoint: Endpoint) -> None:
    partly = Endpoint.objects.only("description").get(pk=endpoint.pk)
    partly.description = "new"
    partly.save()


@way
def save_with_the_revision_deferred(endpoint: Endpoint) -> None:
    partly = Endpoint.objects.defer("revision").get(pk=endpoint.pk)
    partly.description = "new"
    partly.save()


@way
def save_of_an_instance_made_by_hand(endpoint: Endpoint) -> None:
    Endpoint(
        pk=endpoint.pk, endpoint="echo", handler="handlers.echo", description="new",
        revision=endpoint.revision, created_at=endpoint.created_at,
    ).save(force_update=True)  # fmt: skip


@way
def save_of_an_expression(endpoint: Endpoint) -> None:
    endpoint.max_message_size = F("max_message_size") + 1
    endpoint.save()


@way
def save_of_a_locked_row(endpoint: Endpoint) -> None:
    with transaction.atomic():
        locked = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        locked.description = "new"
        locked.save()


@way
def save_by_the_base_manager(endpoint: Endpoint) -> None:
    found = Endpoint._base_manager.get(pk=endpoint.pk)
    found.description = "new"
    found.save_base()


@way
def update(endpoint: Endpoint) -> None:
    Endpoint.objects.filter(pk=endpoint.pk).update(description="new")


@way
def update_of_everything(endpoint: Endpoint) -> None:
    Endpoint.objects.update(description="new")


@way
def update_by_an_expression(endpoint: Endpoint) -> None:
    Endpoint.objects.update(max_message_size=F("max_message_size") * 2)


@way
def update_by_the_base_manager(endpoint: Endpoint) -> None:
    Endpoint._base_manager.filter(pk=endpoint.pk).update(description="new")


@way
def update_by_a_related_manager(endpoint: Endpoint) -> None:
    # EndpointGroup rows of its own, so that the change of groups itself isn't what is seen.
    group = Group.objects.create(name="related")
    endpoint.groups.add(group)
    endpoint.refresh_from_db()
    before = endpoint.revision
    group.endpoint_set.update(description="new")
    assert revision(endpoint) != before


@way
def bulk_update(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    Endpoint.objects.bulk_update([endpoint], ["description"])


@way
def bulk_create_over_conflicts(endpoint: Endpoint) -> None:
    row = Endpoint(endpoint="echo", handler="handlers.echo", description="new")
    Endpoint.objects.upsert([row], unique=["endpoint"], update=["description"])


@way
def update_or_create(endpoint: Endpoint) -> None:
    Endpoint.objects.update_or_create({"description": "new"}, endpoint="echo")


@way
def asynchronous_save(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    async_to_sync(endpoint.asave)()


@way
def deserialised_object(endpoint: Endpoint) -> None:
    endpoint.description = "new"
    text = serializers.serialize("json", [endpoint])
    for found in serializers.deserialize("json", text):
        found.save()


@way
def group_added(endpoint: Endpoint) -> None:
    endpoint.groups.add(Group.objects.create(name="chatters"))


@way
def group_created_by_the_related_manager(endpoint: Endpoint) -> None:
    endpoint.groups.create(name="chatters")


@way
def groups_set(endpoint: Endpoint) -> None:
    endpoint.groups.set([Group.objects.create(name="chatters")])


@way
def endpoint_added_to_a_group(endpoint: Endpoint) -> None:
    Group.objects.create(name="chatters").endpoint_set.add(endpoint)


@way
def endpoints_of_a_group_set(endpoint: Endpoint) -> None:
    Group.objects.create(name="chatters").endpoint_set.set([endpoint])


@way
def through_row_saved(endpoint: Endpoint) -> None:
    EndpointGroup(endpoint=endpoint, group=Group.objects.create(name="chatters")).save()


@way
def through_rows_created_in_bulk(endpoint: Endpoint) -> None:
    group = Group.objects.create(name="chatters")
    EndpointGroup.objects.bulk_create([EndpointGroup(endpoint=endpoint, group=group)])


@pytest.mark.parametrize("name", WAYS)
def test_a_change_draws_a_new_revision(endpoint: Endpoint, name: str) -> None:
    before, watermark = revision(endpoint), Endpoint.objects.watermark()
    WAYS[name](endpoint)
    assert revision(endpoint) != before
    assert Endpoint.objects.watermark() != watermark


Leave = Callable[[Endpoint, Group], object]
LEAVES: dict[str, Leave] = {
    "remove": lambda endpoint, group: endpoint.groups.remove(group),
    "clear": lambda endpoint, group: endpoint.groups.clear(),
    "set to none": lambda endpoint, group: endpoint.groups.set([]),
    "remove from the other side": lambda endpoint, group: group.endpoint_set.remove(endpoint),
    "clear from the other side": lambda endpoint, group: group.endpoint_set.clear(),
    "set from the other side": lambda endpoint, group: group.endpoint_set.set([]),
    "the through row deleted": lambda endpoint, group: EndpointGroup.objects.get().delete(),
    "through rows deleted": lambda endpoint, group: EndpointGroup.objects.all().delete(),
    "through rows updated": lambda endpoint, group: EndpointGroup.objects.update(
        group=Group.objects.create(name="else")
    ),
}


@pytest.mark.parametrize("name", LEAVES)
def test_a_group_that_leaves_an_endpoint_draws_a_new_revision(
    endpoint: Endpoint, group: Group, name: str
) -> None:
    endpoint.groups.add(group)
    before = revision(endpoint)
    LEAVES[name](endpoint, group)
    assert revision(endpoint) != before


def moved_by_save(row: EndpointGroup, to: Endpoint) -> None:
    row.endpoint = to
    row.save()


def moved_by_update(row: EndpointGroup, to: Endpoint) -> None:
    EndpointGroup.objects.filter(pk=row.pk).update(endpoint=to)


def moved_by_bulk_update(row: EndpointGroup, to: Endpoint) -> None:
    row.endpoint = to
    EndpointGroup.objects.bulk_update([row], ["endpoint"])


@pytest.mark.parametrize("move", [moved_by_save, moved_by_update, moved_by_bulk_update])
def test_a_group_that_moves_to_another_endpoint_draws_a_new_revision_of_both(
    endpoint: Endpoint,
    other: Endpoint,
    group: Group,
    move: Callable[[EndpointGroup, Endpoint], None],
) -> None:
    row = EndpointGroup.objects.create(endpoint=endpoint, group=group)
    before = revision(endpoint), revision(other)
    move(row, other)
    after = revision(endpoint), revision(other)
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_a_group_in_use_can_not_be_deleted(endpoint: Endpoint, group: Group) -> None:
    endpoint.groups.add(group)
    with pytest.raises(ProtectedError):
        group.delete()


def test_a_fixture_that_is_loaded_draws_new_revisions(
    endpoint: Endpoint, group: Group, tmp_path: Path
) -> None:
    endpoint.groups.add(group)
    before = revision(endpoint)
    fixture = tmp_path / "rows.json"
    call_command("dumpdata", "websockets_app.endpoint", output=str(fixture))
    call_command("loaddata", str(fixture), verbosity=0)
    loaded = revision(endpoint)
    assert loaded != before
    call_command("dumpdata", "websockets_app.endpointgroup", output=str(fixture))
    call_command("loaddata", str(fixture), verbosity=0)
    assert revision(endpoint) != loaded


def test_two_stale_saves_at_once_leave_two_different_revisions(endpoint: Endpoint) -> None:
    first, second = stored(endpoint), stored(endpoint)
    seen = {revision(endpoint)}
    first.save()
    seen.add(revision(endpoint))
    second.save()
    seen.add(revision(endpoint))
    assert len(seen) == 3


@pytest.mark.django_db(transaction=True)
def test_stale_saves_in_two_transactions_at_once_are_both_noticed() -> None:
    endpoint = Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    before, read = revision(endpoint), threading.Barrier(2, timeout=10)
    revisions: list[int] = []

    def edit() -> None:
        stale = stored(endpoint)
        read.wait()
        stale.save()
        revisions.append(stale.revision)
        connection.close()

    threads = [threading.Thread(target=edit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({before, *revisions}) == 3
    assert revision(endpoint) in revisions


def test_a_save_of_no_fields_saves_nothing(endpoint: Endpoint) -> None:
    before = revision(endpoint)
    endpoint.save(update_fields=[])
    assert revision(endpoint) == before


def test_an_update_leaves_the_revisions_of_other_rows(endpoint: Endpoint, other: Endpoint) -> None:
    before = revision(other)
    Endpoint.objects.filter(pk=endpoint.pk).update(description="new")
    assert revision(other) == before


def test_a_save_with_deferred_fields_writes_no_others(endpoint: Endpoint) -> None:
    partly = Endpoint.objects.only("description").get(pk=endpoint.pk)
    Endpoint.objects.update(handler="handlers.room")
    partly.description = "new"
    partly.save()
    assert stored(endpoint).handler == "handlers.room"
    assert stored(endpoint).description == "new"


def test_the_watermark_differs_after_adding_and_after_deleting(endpoint: Endpoint) -> None:
    seen: set[Watermark] = {Endpoint.objects.watermark()}
    added = Endpoint.objects.create(endpoint="added", handler="handlers.echo")
    seen.add(Endpoint.objects.watermark())
    endpoint.delete()
    seen.add(Endpoint.objects.watermark())
    Endpoint.objects.filter(pk=added.pk).delete()
    seen.add(Endpoint.objects.watermark())
    assert len(seen) == 4
    assert Endpoint.objects.watermark() == Watermark(0, 0)


def test_the_watermark_of_many_rows_fits_into_the_database_s_numbers() -> None:
    Endpoint.objects.bulk_create(
        Endpoint(endpoint=f"e{number}", handler="handlers.echo") for number in range(1000)
    )
    rows, revisions = Endpoint.objects.watermark()
    assert rows == 1000
    assert revisions == sum(Endpoint.objects.revisions().values())


def test_disabling_is_a_change_of_what_is_served(endpoint: Endpoint) -> None:
    before = Endpoint.objects.served().watermark()
    Endpoint.objects.update(enabled=False)
    assert Endpoint.objects.served().watermark() != before
    assert not Endpoint.objects.served().revisions()


def test_clients_are_noticed_alike() -> None:
    client = Client.objects.create(name="c", uri="ws://example.com", handler="handlers.printer")
    seen = {revision(client)}
    client.save(update_fields=["uri"])
    seen.add(revision(client))
    Client.objects.update(desired="stop")
    seen.add(revision(client))
    Client.objects.only("name").get().save()
    seen.add(revision(client))
    assert len(seen) == 4


def test_two_bulk_created_rows_have_different_revisions() -> None:
    created = Endpoint.objects.bulk_create(
        [Endpoint(endpoint=name, handler="handlers.echo", revision=1) for name in ("a", "b")]
    )
    assert len({row.revision for row in created}) == 2
    assert 1 not in {row.revision for row in created}


class Announcements:
    """What `descriptors_changed` told, and in which state of the transaction."""

    def __init__(self) -> None:
        self.heard: list[type] = []

    def __call__(self, sender: type, **kwargs: Any) -> None:
        self.heard.append(sender)


@pytest.fixture
def announcements() -> Any:
    heard = Announcements()
    descriptors_changed.connect(heard)
    yield heard
    descriptors_changed.disconnect(heard)


def test_a_change_is_announced_after_its_commit_and_not_before(
    endpoint: Endpoint,
    announcements: Announcements,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        endpoint.save()
        assert not announcements.heard
    assert announcements.heard == [Endpoint]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_is_not_announced(announcements: Announcements) -> None:
    with transaction.atomic():
        Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
        transaction.set_rollback(True)
    assert not announcements.heard


@pytest.mark.parametrize(
    "change",
    [
        lambda endpoint: endpoint.save(),
        lambda endpoint: endpoint.delete(),
        lambda endpoint: Endpoint.objects.update(description="new"),
        lambda endpoint: Endpoint.objects.all().delete(),
        lambda endpoint: Endpoint.objects.bulk_create([Endpoint(endpoint="x", handler="h")]),
        lambda endpoint: endpoint.groups.create(name="g"),
    ],
)
def test_every_kind_of_change_is_announced(
    endpoint: Endpoint,
    announcements: Announcements,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    change: Callable[[Endpoint], object],
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        change(endpoint)
    assert Endpoint in announcements.heard


def test_an_announcement_that_fails_fails_nobody_s_save(
    endpoint: Endpoint,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("a receiver's own trouble")

    descriptors_changed.connect(broken)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            endpoint.save()
    finally:
        descriptors_changed.disconnect(broken)


async def test_a_change_may_come_from_asynchronous_code(transactional_db: None) -> None:
    endpoint = await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo")
    seen = [endpoint.revision]
    await endpoint.asave(update_fields=["handler"])
    seen.append(endpoint.revision)
    await Endpoint.objects.aupdate(description="new")
    seen.append((await Endpoint.objects.aget()).revision)
    assert len(set(seen)) == 3
