"""The tables themselves refuse what no code of ours would write."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from tests.infrastructure.site import REPOSITORY
from websockets_app.core import states
from websockets_app.models import (
    Client,
    ClientRuntime,
    Endpoint,
    Event,
    Minute,
    Node,
    OutboxMessage,
    Session,
    SharedMember,
    SharedValue,
    choices,
)

pytestmark = pytest.mark.django_db


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint(**{"endpoint": "echo", "handler": "handlers.echo", **fields})


def client(**fields: Any) -> Client:
    return Client(**{"name": "c", "uri": "ws://example.com", "handler": "h", **fields})


def session(**fields: Any) -> Session:
    now = timezone.now()
    return Session(**{"id": "s", "endpoint_path": "echo", "path": "/", "opened_at": now, **fields})


def event(**fields: Any) -> Event:
    now = timezone.now()
    return Event(**{"at": now, "kind": "open", "node_id": "n", "peer": "p", "seq": 1, **fields})


def minute(**fields: Any) -> Minute:
    begins = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return Minute(
        **{"node_id": "n", "direction": "in", "descriptor": 1, "minute": begins, **fields}
    )


def node(**fields: Any) -> Node:
    now = timezone.now()
    named = {"id": "n", "kind": "server", "pid": 1, "started_at": now, "renewed_at": now}
    return Node(**{**named, **fields})


@pytest.mark.parametrize(
    "make",
    [
        lambda: endpoint(access="anybody"),
        lambda: endpoint(on_change="explode"),
        lambda: endpoint(on_handler_error="explode"),
        lambda: endpoint(record_messages="everything"),
        lambda: client(desired="fly"),
        lambda: client(record_messages="everything"),
        lambda: client(on_uncertain="shrug"),
        lambda: session(closed_at=timezone.now(), close_cause="boredom"),
        lambda: session(closed_at=timezone.now()),
        lambda: session(close_cause="peer"),
        lambda: event(kind="party"),
        lambda: event(cause="boredom"),
        lambda: event(direction="up"),
        lambda: minute(direction="up"),
        lambda: node(kind="toaster"),
        lambda: node(state="tired"),
    ],
)
def test_a_value_that_is_no_state_is_refused(make: Callable[[], Any]) -> None:
    row = make()
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)


@pytest.mark.parametrize(
    "make",
    [
        endpoint,
        client,
        session,
        lambda: session(closed_at=timezone.now(), close_cause="peer"),
        event,
        lambda: event(kind="close", cause="peer", direction="in"),
        minute,
        node,
    ],
)
def test_what_is_right_is_taken(make: Callable[[], Any]) -> None:
    make().save(force_insert=True)


def two_endpoints_of_one_file() -> Endpoint:
    return endpoint(endpoint=uuid.uuid4().hex, source_root="handlers", source="a.websocket")


def two_clients_of_one_file() -> Client:
    return client(name=uuid.uuid4().hex, source_root="handlers", source="a.websocket-client")


@pytest.mark.parametrize(
    "make",
    [endpoint, client, event, minute, two_endpoints_of_one_file, two_clients_of_one_file],
)
def test_what_must_be_once_is_refused_twice(make: Callable[[], Any]) -> None:
    make().save()
    with pytest.raises(IntegrityError), transaction.atomic():
        make().save()


@pytest.mark.parametrize(
    ("text", "binary"), [(None, None), ("text", b"binary")], ids=["neither", "both"]
)
def test_an_outbox_message_is_text_or_binary(text: str | None, binary: bytes | None) -> None:
    owner = client()
    owner.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        OutboxMessage.objects.create(client=owner, text=text, binary=binary)


def test_an_outbox_message_may_be_empty() -> None:
    owner = client()
    owner.save()
    OutboxMessage.objects.create(client=owner, text="")
    OutboxMessage.objects.create(client=owner, binary=b"")


def test_a_deleted_endpoint_loses_no_history() -> None:
    row = endpoint()
    row.save()
    session(endpoint=row).save(force_insert=True)
    event(endpoint=row, name="echo").save()
    minute(descriptor=row.pk).save()
    row.delete()
    assert Session.objects.get().endpoint_path == "echo"
    assert Event.objects.get().name == "echo"
    assert Minute.objects.count() == 1


def test_a_deleted_client_takes_its_runtime_along_and_leaves_its_history() -> None:
    row = client()
    row.save()
    ClientRuntime.objects.create(client=row)
    OutboxMessage.objects.create(client=row, text="hello")
    event(client=row, name="c").save()
    row.delete()
    assert not ClientRuntime.objects.exists()
    assert not OutboxMessage.objects.exists()
    assert Event.objects.get().name == "c"


def test_a_deleted_node_leaves_its_sessions_and_events() -> None:
    row = node()
    row.save(force_insert=True)
    session(node=row).save(force_insert=True)
    event(node=row).save()
    row.delete()
    assert Session.objects.get().node_id == "n"
    assert Event.objects.get().node_id == "n"


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (choices.ACCESS, states.Access),
        (choices.ON_CHANGE, states.OnChange),
        (choices.ON_HANDLER_ERROR, states.OnHandlerError),
        (choices.MESSAGE_RECORDING, states.MessageRecording),
        (choices.DESIRED, states.Desired),
        (choices.CLIENT_STATE, states.ClientState),
        (choices.DIRECTION, states.Direction),
        (choices.EVENT_KIND, states.EventKind),
        (choices.CLOSE_CAUSE, states.CloseCause),
        (choices.NODE_KIND, states.NodeKind),
        (choices.NODE_STATE, states.NodeState),
        (choices.DRAIN_STATE, states.DrainState),
        (choices.OUTBOX_STATUS, states.OutboxStatus),
        (choices.ON_UNCERTAIN, states.OnUncertain),
        (choices.FAILURE, states.Failure),
        (choices.RATE_SCOPE, states.RateScope),
    ],
)
def test_every_state_has_words_and_every_word_a_state(labels: choices.Labels, values: Any) -> None:
    assert [value for value, _ in labels] == list(values)


def test_the_migrations_are_complete_and_can_be_checked() -> None:
    call_command("makemigrations", "websockets_app", check=True, dry_run=True, verbosity=0)


def test_migrations_hold_values_and_no_enums_that_may_change_later() -> None:
    migrations = sorted((REPOSITORY / "websockets_app" / "migrations").glob("0*.py"))
    assert migrations
    for migration in migrations:
        assert "websockets_app.core" not in migration.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "fields",
    [
        {"subprotocols": "chat"},
        {"subprotocols": [1]},
        {"subprotocols": None},
        {"origins": {"a": 1}},
        {"permission": "nodots"},
        {"endpoint": "a//b"},
        {"max_message_size": 0},
        {"inbox_messages": 0},
    ],
)
def test_an_endpoint_that_could_not_be_served_is_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        endpoint(**fields).full_clean()
    assert refused.value.message_dict.keys() == fields.keys()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("stored", "same"),
    [
        ("ticker", "ticker"),
        ("ticker", "/websockets/v4/service/ticker"),
        ("/websockets/v4/service/chat/<room>", "chat/<str:name>"),
    ],
)
def test_a_second_endpoint_with_the_same_url_is_invalid(
    stored: str, same: str, enabled: bool
) -> None:
    first = endpoint(endpoint=stored, enabled=enabled)
    first.save()
    first.full_clean()
    renamed = endpoint(endpoint="other")
    renamed.save()
    renamed.endpoint = same
    for row in (endpoint(endpoint=same), renamed):
        with pytest.raises(ValidationError) as refused:
            row.full_clean()
        [error] = refused.value.error_dict["endpoint"]
        assert error.code == "unique"


def test_an_endpoint_that_is_no_path_is_invalid_for_that_alone() -> None:
    endpoint(endpoint="a//b").save()
    with pytest.raises(ValidationError) as refused:
        endpoint(endpoint="/websockets/v4/service/a//b").full_clean()
    [error] = refused.value.error_dict["endpoint"]
    assert error.code == "endpoint"


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "http://example.com"},
        {"headers": ["a"]},
        {"headers": {"a": 1}},
        {"subprotocols": "chat"},
        {"ping_interval": -1},
        {"open_timeout": 0},
    ],
)
def test_a_client_that_could_not_connect_is_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        client(**fields).full_clean()
    assert refused.value.message_dict.keys() == fields.keys()


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "a\u2028b"])
def test_a_client_whose_name_would_spoil_a_log_line_is_invalid(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        client(name=name).full_clean()
    assert refused.value.message_dict.keys() == {"name"}


def test_what_the_defaults_make_is_valid_and_safe() -> None:
    row = endpoint()
    row.full_clean()
    assert row.access == "authenticated"
    assert not row.allow_missing_origin
    assert row.max_message_size == 1024 * 1024
    assert (row.inbox_messages, row.inbox_bytes) == (1000, 16 * 1024 * 1024)
    client().full_clean()


@pytest.mark.parametrize("other", ["Echo", "écho", "echo "])
def test_texts_that_differ_in_one_character_are_different_rows(other: str) -> None:
    for name in ("echo", other):
        endpoint(endpoint=name).save()
        client(name=name).save()
        SharedValue.objects.put(name, name, None, None)
        assert SharedMember.objects.put("key", name, None, None)
    assert Endpoint.objects.get(endpoint=other).endpoint == other
    assert Client.objects.get(name="echo").name == "echo"
    assert SharedValue.objects.get(key="echo").value == "echo"
    assert SharedMember.objects.of("key") == ["echo", other]


@pytest.mark.parametrize("change", [{"source": "A.websocket"}, {"source_root": "Root"}])
def test_files_that_differ_by_case_own_a_row_each(change: dict[str, str]) -> None:
    endpoint(endpoint="a", source_root="root", source="a.websocket").save()
    endpoint(endpoint="b", **{"source_root": "root", "source": "a.websocket"} | change).save()
    for name in ("c", "d"):  # not of any file
        endpoint(endpoint=name, source_root="root").save()
