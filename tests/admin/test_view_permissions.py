"""Secrets and other models' rows reach only the users who may see them, on whatever page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import ForeignKey, Model
from django.test import Client as Browser
from django.utils import timezone

from tests.admin.pages import act, url
from tests.admin.rows import create_client, create_message
from websockets_app.models import (
    Client,
    ClientRuntime,
    Endpoint,
    Event,
    Minute,
    Node,
    OutboxMessage,
    Session,
)

CLIENT_SECRET: Final = "s3cret-of-a-client"
MARKERS: Final = {
    Event: "traceback-of-an-event",
    Session: "user-of-a-session",
    OutboxMessage: "text-of-a-message",
}
PAGES: Final = (Endpoint, Client, Session, Event, Minute, Node, OutboxMessage)
CODENAMES: Final = sorted(
    f"{verb}_{model._meta.model_name}"
    for model in apps.get_app_config("websockets_app").get_models()
    for verb in model._meta.default_permissions
)
SINGLE: Final = [
    f"{verb}_{model._meta.model_name}" for model in PAGES for verb in ("view", "change")
]
LIST = "changelist"


@pytest.fixture
def rows(
    make_node: Callable[..., Node],
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
) -> list[Model]:
    """Rows of every model that has a page, with secrets and markers planted in them."""
    node = make_node()
    endpoint = Endpoint.objects.create(endpoint="mine", handler="handlers.echo")
    client = create_client(
        uri=f"wss://me:{CLIENT_SECRET}@example.com/?token={CLIENT_SECRET}",
        headers={"Authorization": f"Bearer {CLIENT_SECRET}", "X-Odd": f"env:A {CLIENT_SECRET}"},
        proxy=f"http://me:{CLIENT_SECRET}@proxy.example:3128",
    )
    owned = create_client(
        "owned", headers={"X": CLIENT_SECRET}, source_root="handlers", source="a.websocket-client"
    )
    ClientRuntime.objects.create(client=client, state="open", holder=node)
    about = {"detail": MARKERS[Event], "kind": "error"}
    events = [
        make_event(**about, endpoint=endpoint, node=node),
        make_event(**about, client=client, node=node),
    ]
    session = make_session(endpoint, username=MARKERS[Session], node=node)
    events.append(make_event(**about, peer=session.pk, node=node))
    message = create_message(client, text=MARKERS[OutboxMessage])
    minute = Minute.objects.create(
        node_id=node.pk, direction="in", descriptor=endpoint.pk, minute=timezone.now()
    )
    return [node, endpoint, client, owned, *events, session, message, minute]


def pages(browser: Browser, rows: Iterable[Model]) -> Iterator[str]:
    """Yield the text of every page of the admin that the user can reach."""
    responses = [browser.get("/admin/"), browser.get("/admin/websockets_app/")]
    for model in PAGES:
        responses += [browser.get(url(model, LIST)), browser.get(url(model, LIST), {"q": "s"})]
        responses.append(browser.get(url(model, "add")))
    for row in rows:
        responses += [
            browser.get(url(type(row), page, row.pk)) for page in ("change", "history", "delete")
        ]
        actions = admin.site.get_model_admin(type(row)).actions or ()
        responses += [act(browser, str(action), row) for action in (*actions, "delete_selected")]
    for response in responses:
        assert response.status_code in {200, 302, 403, 404}
        yield response.content.decode()


def all_but(model: type[Model], *verbs: str) -> list[str]:
    refused = {f"{verb}_{model._meta.model_name}" for verb in verbs}
    return [name for name in CODENAMES if name not in refused]


@pytest.mark.parametrize("codename", SINGLE)
def test_a_single_permission_shows_no_secret_and_no_other_models_rows(
    staff_browser: Callable[..., Browser], rows: list[Model], codename: str
) -> None:
    text = "".join(pages(staff_browser(codename), rows))
    assert (CLIENT_SECRET in text) == (codename == "change_client")
    for model, marker in MARKERS.items():
        may_view = codename in {f"{verb}_{model._meta.model_name}" for verb in ("view", "change")}
        assert (marker in text) == may_view


def test_all_other_permissions_show_no_clients_secret(
    staff_browser: Callable[..., Browser], rows: list[Model]
) -> None:
    text = "".join(pages(staff_browser(*all_but(Client, "change")), rows))
    assert "wss://example.com/?token=…" in text
    assert "… env:A" in text
    assert "http://proxy.example:3128" in text
    assert CLIENT_SECRET not in text


@pytest.mark.parametrize("model", MARKERS)
def test_rows_need_the_view_permission_of_their_own_model_on_every_page(
    staff_browser: Callable[..., Browser], rows: list[Model], model: type[Model]
) -> None:
    text = "".join(pages(staff_browser(*all_but(model, "view", "change")), rows))
    assert MARKERS[model] not in text
    assert all(marker in text for other, marker in MARKERS.items() if other is not model)


def test_a_secret_is_hidden_where_a_file_owns_the_row(
    admin_client: Browser, rows: list[Model]
) -> None:
    owned = Client.objects.get(name="owned")
    assert CLIENT_SECRET not in admin_client.get(url(Client, "change", owned.pk)).content.decode()


def test_the_user_who_can_change_a_client_reads_it_whole(
    staff_browser: Callable[..., Browser], rows: list[Model]
) -> None:
    client = Client.objects.get(name="feed")
    page = staff_browser("change_client").get(url(Client, "change", client.pk))
    form = page.context["adminform"].form
    assert (form["uri"].value(), form["proxy"].value()) == (client.uri, client.proxy)
    assert json.loads(form["headers"].value()) == client.headers


@pytest.mark.parametrize(
    ("model", "codename", "column"),
    [(Endpoint, "event", "last event"), (Endpoint, "session", ">Open<"),
     (Node, "session", "Open sessions"), (Node, "client", ">Clients<")],
)  # fmt: skip
def test_columns_about_other_models_need_their_view_permission(
    staff_browser: Callable[..., Browser],
    rows: list[Model],
    model: type[Model],
    codename: str,
    column: str,
) -> None:
    own = f"view_{model._meta.model_name}"
    without, with_ = (
        staff_browser(own, *more).get(url(model, LIST)).content.decode().lower()
        for more in ([], [f"view_{codename}"])
    )
    assert column.lower() not in without.partition("<tbody>")[0].partition("<thead>")[2]
    assert column.lower() in with_.partition("<tbody>")[0].partition("<thead>")[2]


LOOKUPS: Final = ("", "__icontains", "__startswith", "__gt", "__isnull", "__Authorization__regex")
RELATED_LOOKUPS: Final = ("__icontains", "__startswith")


def _secret_lookups() -> Iterator[Any]:
    """Yield each way from a page's model to a secret: its own field or over a relation."""
    for model, field in itertools.product(PAGES, ("uri", "headers", "proxy")):
        roots = [""] if model is Client else []
        roots += [
            f"{relation.name}__"
            for relation in model._meta.get_fields()
            if isinstance(relation, ForeignKey) and relation.related_model is Client
        ]
        if model is Client:
            roots += ["runtime__client__", "outboxmessage__client__", "event__client__"]
        for root in roots:
            for lookup in RELATED_LOOKUPS if root else LOOKUPS:
                yield pytest.param(model, f"{root}{field}{lookup}", id=f"{root}{field}{lookup}")


@pytest.mark.parametrize(("model", "lookup"), list(_secret_lookups()))
def test_nobody_filters_by_a_secret(
    admin_client: Browser, rows: list[Model], model: type[Model], lookup: str
) -> None:
    assert admin_client.get(url(model, LIST), {lookup: "x"}).status_code == 400


@pytest.mark.parametrize("model", [Client, Endpoint])
def test_nobody_filters_by_other_models_rows(
    admin_client: Browser, rows: list[Model], model: type[Model]
) -> None:
    for lookup in ("event__detail__icontains", "outboxmessage__text__icontains"):
        assert admin_client.get(url(model, LIST), {lookup: "x"}).status_code in {302, 400}


def test_nobody_sorts_or_searches_by_a_secret(admin_client: Browser, rows: list[Model]) -> None:
    page = admin_client.get(url(Client, LIST)).context["cl"]
    sortable = {page.get_ordering_field(column) for column in page.list_display}
    assert not {"uri", "headers", "proxy"} & sortable
    found = admin_client.get(url(Client, LIST), {"q": CLIENT_SECRET})
    assert not found.context["cl"].result_list


def test_permissions_of_users_are_those_of_the_app(db: None) -> None:
    of_app = Permission.objects.filter(content_type__app_label="websockets_app")
    assert set(of_app.values_list("codename", flat=True)) == set(CODENAMES)
