"""Rows that a file owns: they are looked at and turned here, and changed there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client as Browser

from tests.admin.pages import act, form_data, recorded, told, url
from tests.admin.rows import create_client
from websockets_app.models import Client, Endpoint, EndpointGroup

ROOT = "handlers"
BOTH = pytest.mark.parametrize("model", [Endpoint, Client])


def create(model: type[Model], name: str, source: str = "") -> Any:
    owner = {"source_root": ROOT, "source": source} if source else {}
    if model is Client:
        return create_client(name, **owner)
    return Endpoint.objects.create(endpoint=name, handler="handlers.echo", **owner)


@BOTH
def test_the_page_names_the_file_and_has_nothing_to_fill_in(
    admin_client: Browser, model: type[Model], db: None
) -> None:
    row = create(model, "owned", "owned.websocket")
    if isinstance(row, Endpoint):
        EndpointGroup.objects.create(endpoint=row, group=Group.objects.create(name="ops"))
    page = admin_client.get(url(model, "change", row.pk))
    text = page.content.decode()
    assert "The file handlers/owned.websocket owns this row." in text
    assert "manage.py sync_websockets" in text
    assert not page.context["adminform"].form.fields
    for name in ("_save", "_continue", "deletelink", 'name="endpointgroup_set-0-group"'):
        assert name not in text
    assert ("ops" in text) == (model is Endpoint)
    assert ("chat/&lt;slug:room&gt;" in text) == (model is Endpoint)


@BOTH
def test_nothing_that_is_posted_changes_or_deletes_it(
    admin_client: Browser, model: type[Model], db: None
) -> None:
    data = form_data(admin_client.get(url(model, "change", create(model, "free").pk)))
    row = create(model, "owned", "owned.websocket")
    changed = data | {"description": "by hand"}
    assert admin_client.post(url(model, "change", row.pk), changed).status_code == 403
    admin_client.post(url(model, "delete", row.pk), {"post": "yes"})
    row.refresh_from_db()
    assert row.description == ""


WHY = (
    "Nothing was deleted, because files own these rows: owned (handlers/owned.websocket). To "
    "delete such a row, remove its file and run manage.py sync_websockets --prune."
)


@BOTH
def test_a_superuser_who_deletes_the_row_of_a_file_learns_why_it_stays(
    admin_client: Browser, model: type[Model], db: None
) -> None:
    row = create(model, "owned", "owned.websocket")
    for response in (
        admin_client.get(url(model, "delete", row.pk), follow=True),
        admin_client.post(url(model, "delete", row.pk), {"post": "yes"}, follow=True),
    ):
        assert response.redirect_chain == [(url(model, "change", row.pk), 302)]
        assert [str(message) for message in response.context["messages"]] == [WHY]


@BOTH
def test_rows_of_files_keep_the_others_of_a_selection_from_being_deleted(
    admin_client: Browser, model: type[Model], db: None
) -> None:
    rows = [create(model, "owned", "owned.websocket"), create(model, "free")]
    act(admin_client, "delete_selected", *rows)
    response = act(admin_client, "delete_selected", *rows, post="yes")
    assert told(response) == [WHY, WHY]
    assert model._default_manager.count() == 2
    confirmation = act(admin_client, "delete_selected", rows[1])
    assert confirmation.status_code == 200
    act(admin_client, "delete_selected", rows[1], post="yes")
    assert model._default_manager.get() == rows[0]


@BOTH
def test_only_a_user_who_may_delete_rows_learns_why_one_stays(
    staff_browser: Callable[..., Browser], model: type[Model]
) -> None:
    row = create(model, "owned", "owned.websocket")
    browser = staff_browser(f"view_{model._meta.model_name}")
    assert browser.get(url(model, "delete", row.pk)).status_code == 403
    assert told(act(browser, "delete_selected", row)) == []


@pytest.mark.parametrize(
    ("model", "action", "field", "value", "done"),
    [(Endpoint, "disable", "enabled", False, "Disabled"),
     (Client, "stop", "desired", "stop", "To stop")],
)  # fmt: skip
def test_an_operator_turns_it_and_hears_for_how_long(
    admin_client: Browser,
    model: type[Model],
    action: str,
    field: str,
    value: object,
    done: str,
    db: None,
) -> None:
    rows = [create(model, "free"), create(model, "owned", "owned.websocket")]
    response = act(admin_client, action, *rows)
    assert told(response) == [
        f"{done}: free, owned",
        f"Only until the next sync, where their files say “{field}”: owned",
    ]
    for row in rows:
        row.refresh_from_db()
        assert getattr(row, field) == value
        assert recorded(row) == [f"Changed {field.capitalize()}."]


@BOTH
def test_rows_are_filtered_by_who_owns_them(
    admin_client: Browser, model: type[Model], db: None
) -> None:
    owned, free = create(model, "owned", "owned.websocket"), create(model, "free")
    for owner, row in (("file", owned), ("people", free)):
        page = admin_client.get(url(model, "changelist"), {"owner": owner})
        assert list(page.context["cl"].result_list) == [row]
    listed = admin_client.get(url(model, "changelist")).content.decode()
    assert listed.count("handlers/owned.websocket") == 1
