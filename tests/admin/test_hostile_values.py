"""Values that the admin's pages don't offer, but that anybody can put into a URL or a form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ERROR_FLAG
from django.contrib.auth.models import User
from django.contrib.messages.storage import default_storage
from django.db import ProgrammingError, transaction
from django.db.models import JSONField, Model
from django.http import HttpResponseRedirect
from django.test import Client as Browser
from django.test import RequestFactory
from django.utils import timezone

from tests.admin.pages import form_data, url
from tests.admin.rows import create_client, create_message
from websockets_app.models import (
    Client,
    Endpoint,
    Event,
    Minute,
    Node,
    OutboxMessage,
    Session,
)

MODELS: Final[list[type[Model]]] = [
    model for model in admin.site._registry if model._meta.app_label == "websockets_app"
]
HUGE: Final = "9" * 26
HOSTILE: Final = [
    HUGE, f"-{HUGE}", str(2**63), "-1", "1.5", "nan", "9" * 5000, "٣", "²", " ",
    "None", '{"a": 1}', "1,2", "1\0", "a\0b", "x" * 3000, "💥", "%", "'",
]  # fmt: skip
INVALID_JSON: Final = [HUGE, "9" * 5000, "[" * 5000, '["\\u0000"]', "1\0"]
LOOKUPS: Final = [
    "in",
    "gte",
    "lt",
    "range",
    "isnull",
    "contains",
    "startswith",
    "year",
    "nothing",
]


@pytest.fixture(autouse=True)
def rows(
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
    make_node: Callable[..., Node],
) -> dict[type[Model], Model]:
    """One row of each model, so that a query that finds everything finds something."""
    client = create_client()
    endpoint = Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    made: dict[type[Model], Model] = {
        Client: client,
        Endpoint: endpoint,
        Event: make_event("error", endpoint_id=endpoint.pk),
        Minute: Minute.objects.create(
            node_id="gone", direction="in", descriptor=endpoint.pk, minute=timezone.now()
        ),
        Node: make_node(),
        OutboxMessage: create_message(client),
        Session: make_session(endpoint),
    }
    assert made.keys() == set(MODELS)
    return made


def filters_of(model: type[Model]) -> Iterator[str]:
    """Yield the parameter of each filter that the list of `model` offers."""
    for item in admin.site.get_model_admin(model).list_filter:
        if isinstance(item, str):
            yield from (item, f"{item}__exact", f"{item}__isnull")
        else:
            yield item.parameter_name  # type: ignore[union-attr]


@pytest.fixture
def show_list(admin_user: User, rf: RequestFactory) -> Callable[..., list[Model] | str]:
    """Return the rows that a list shows, or where it redirects to. No template is rendered."""

    def show(model: type[Model], /, **query: str) -> list[Model] | str:
        request: Any = rf.get(url(model, "changelist"), query)
        request.user, request.session = admin_user, {}
        request._messages = default_storage(request)
        with transaction.atomic():  # PostgreSQL ends a transaction in which a query failed
            response: Any = admin.site.get_model_admin(model).changelist_view(request)
            if isinstance(response, HttpResponseRedirect):
                transaction.set_rollback(True)
                return response.url
            return list(response.context_data["cl"].result_list)

    return show


@pytest.mark.parametrize("model", MODELS)
def test_no_value_in_the_query_breaks_a_list(
    show_list: Callable[..., list[Model] | str], model: type[Model]
) -> None:
    for parameter in (*filters_of(model), "q", "o", "p", "all", "_changelist_filters"):
        for value in HOSTILE:
            show_list(model, **{parameter: value})
    columns = {name for field in model._meta.fields for name in (field.name, field.attname)}
    lookups = [f"{model._meta.pk.name}__{lookup}" for lookup in LOOKUPS]
    for parameter in (*columns - {"uri", "headers", "proxy"}, *lookups):
        for value in (HUGE, "1\0"):
            show_list(model, **{parameter: value})


@pytest.mark.parametrize(
    ("model", "parameter"), [(Session, "endpoint"), (OutboxMessage, "client"), (Event, "endpoint")]
)
def test_a_filter_by_a_number_that_no_row_can_have_is_dropped(
    rows: dict[type[Model], Model],
    show_list: Callable[..., list[Model] | str],
    model: type[Model],
    parameter: str,
) -> None:
    owner = rows[Client if parameter == "client" else Endpoint]
    assert show_list(model, **{parameter: str(owner.pk)}) == [rows[model]]
    assert show_list(model, **{parameter: str(owner.pk + 1)}) == []
    for value in ("feed", "1.5"):
        assert str(show_list(model, **{parameter: value})).endswith(f"?{ERROR_FLAG}=1")
    shown = show_list(model, **{parameter: HUGE})
    # MySQL compares with a number of any size.
    assert shown == [] or str(shown).endswith(f"?{ERROR_FLAG}=1")


def test_an_error_without_a_value_in_the_query_is_not_hidden(
    show_list: Callable[..., list[Model] | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: object) -> None:
        raise ProgrammingError("no such table")

    monkeypatch.setattr(admin.site.get_model_admin(Event), "get_queryset", fail)
    for query in ({}, {ERROR_FLAG: "1"}):
        with pytest.raises(ProgrammingError):
            show_list(Event, **query)


@pytest.mark.parametrize("lookup", ["name__regex", "detail__iregex"])
def test_a_list_does_not_run_a_regular_expression(admin_client: Browser, lookup: str) -> None:
    page = admin_client.get(url(Event, "changelist"), {lookup: "(a|a)+$"})
    assert page.status_code == 400


@pytest.mark.parametrize("page", ["change", "delete", "history"])
@pytest.mark.parametrize("model", [Session, Client, OutboxMessage])
def test_no_key_of_a_row_breaks_its_pages(
    admin_client: Browser, model: type[Model], page: str
) -> None:
    for key in HOSTILE:
        # Nobody may delete a session or a message.
        assert admin_client.get(url(model, page, key)).status_code in {302, 403, 404}


@pytest.mark.parametrize("model", [Endpoint, Client, Session, OutboxMessage])
def test_no_selected_key_breaks_an_action(admin_client: Browser, model: type[Model]) -> None:
    for action in admin.site.get_model_admin(model).actions:
        for key in HOSTILE:
            posted = {"action": action, ACTION_CHECKBOX_NAME: [key], "index": HUGE}
            page = admin_client.post(url(model, "changelist"), posted)
            assert page.status_code in {200, 302, 404}


@pytest.mark.parametrize("model", [Endpoint, Client])
def test_no_value_of_a_field_breaks_a_form(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model]
) -> None:
    address = url(model, "change", rows[model].pk)
    form = form_data(admin_client.get(address))
    untouched = {name: value for name, value in form.items() if "_FORMS" not in name}
    for name in untouched:
        is_json = isinstance(model_field(model, name), JSONField)
        for value in INVALID_JSON if is_json else [HUGE, "1\0"]:
            page = admin_client.post(address, form | {name: value})
            assert page.status_code in {200, 302}, (name, value[:30])


def model_field(model: type[Model], name: str) -> object:
    """Return a field of a form's model, or None if the form has that field alone."""
    return next((field for field in model._meta.fields if field.name == name), None)
