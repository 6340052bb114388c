"""What the app keeps is read from the database that it is written to, whatever routers say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import transaction
from pytest_django import Settings

import websockets_app
from tests.infrastructure.replica import PRIMARY
from websockets_app.descriptors.kinds import ENDPOINTS
from websockets_app.models import Client, Endpoint, OutboxMessage

PACKAGE = Path(websockets_app.__file__).parent
MODELS = list(apps.get_app_config("websockets_app").get_models())
IN_A_TRANSACTION = {"atomic", "on_commit"}


@pytest.fixture
def replica(settings: Settings) -> None:
    """A router that names a replica which doesn't exist, so that each read from it fails."""
    settings.DATABASE_ROUTERS = ["tests.infrastructure.replica.ReplicaRouter"]


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize("model", MODELS)
def test_rows_are_read_from_the_database_that_they_are_written_to(model: type) -> None:
    rows = model.objects.all()  # type: ignore[attr-defined]
    assert rows.db == rows.filter(pk="1").order_by("pk").db == PRIMARY
    assert rows.using("archive").db == "archive"


@pytest.mark.django_db
@pytest.mark.usefixtures("replica")
def test_a_foreign_key_leads_there_too() -> None:
    client = Client.objects.create(name="c", uri="ws://example.com/", handler="handlers.echo")
    OutboxMessage.objects.create(client=client, text="hello")
    assert OutboxMessage.objects.get().client == client


@pytest.mark.django_db
@pytest.mark.usefixtures("replica")
def test_who_may_enter_an_endpoint_is_read_with_it() -> None:
    endpoint = Endpoint.objects.create(endpoint="e", handler="handlers.echo")
    endpoint.groups.set([Group.objects.create(name="g")])
    assert [group.name for group in Endpoint.objects.served()[0].groups.all()] == ["g"]
    assert ENDPOINTS.values_of(ENDPOINTS.rows()[0])["groups"] == ["g"]


@pytest.mark.django_db
def test_a_transaction_is_one_of_that_database(replica: None) -> None:
    connection = transaction.get_connection(PRIMARY)
    before = len(connection.savepoint_ids)
    with OutboxMessage.objects.atomic():
        assert len(connection.savepoint_ids) > before


def test_every_transaction_of_the_app_names_its_database() -> None:
    unnamed = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in IN_A_TRANSACTION
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "transaction"
        and not any(keyword.arg == "using" for keyword in call.keywords)
    ]
    assert not unnamed
