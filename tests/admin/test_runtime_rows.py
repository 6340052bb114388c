"""Rows that nodes write: people look, filter and search, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client as Browser
from django.utils import timezone
from django.utils.timezone import localtime
from pytest_django import Settings

from tests.admin.pages import url
from websockets_app.models import (
    Client,
    Endpoint,
    Event,
    Minute,
    Node,
    OutboxMessage,
    Session,
)

LIST = "changelist"
RUNTIME = [Session, Event, Node, Minute, OutboxMessage]


@pytest.fixture
def rows(
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
    make_node: Callable[..., Node],
) -> dict[type[Model], Model]:
    """One row of each kind, whose endpoint is gone."""
    node = make_node()
    client = Client.objects.create(name="feed", uri="ws://x/", handler="handlers.printer")
    return {
        Node: node,
        Session: make_session(node_id=node.pk),
        Event: make_event("error", endpoint_id=4711, name="long/gone", detail="Boom\ntrace"),
        Minute: Minute.objects.create(
            node_id="gone", direction="in", descriptor=4711, minute=timezone.now()
        ),
        OutboxMessage: OutboxMessage.objects.create(client=client, binary=b"\x00\xff"),
    }


@pytest.mark.parametrize("model", RUNTIME)
def test_list_and_page_show_rows_whose_endpoint_and_node_are_gone(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model]
) -> None:
    page = admin_client.get(url(model, LIST))
    assert [row.pk for row in page.context["cl"].result_list] == [rows[model].pk]
    assert admin_client.get(url(model, "change", rows[model].pk)).status_code == 200


@pytest.mark.parametrize("model", RUNTIME)
def test_nobody_adds_changes_or_deletes(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model]
) -> None:
    key = rows[model].pk
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "change", key), {}).status_code == 403
    assert admin_client.post(url(model, "delete", key), {"post": "yes"}).status_code == 403
    admin_client.post(
        url(model, LIST), {"action": "delete_selected", "_selected_action": [key], "post": "yes"}
    )
    assert model._default_manager.filter(pk=key).exists()


@pytest.mark.parametrize("model", RUNTIME)
def test_the_pages_work_without_time_zones(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model], settings: Settings
) -> None:
    settings.USE_TZ = False
    assert admin_client.get(url(model, LIST)).status_code == 200
    assert admin_client.get(url(model, "change", rows[model].pk)).status_code == 200


@pytest.mark.parametrize("model", [*RUNTIME, Endpoint, Client])
def test_every_search_answers(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model]
) -> None:
    page = admin_client.get(url(model, LIST), {"q": "no such thing"})
    assert page.status_code == 200
    assert page.context["cl"].result_count == (1 if model is Minute else 0)


def found(browser: Browser, model: type[Model], **query: Any) -> list[Any]:
    page = browser.get(url(model, LIST), query)
    assert page.status_code == 200
    return sorted(row.pk for row in page.context["cl"].result_list)


def test_sessions_are_filtered(
    admin_client: Browser, make_session: Callable[..., Session], make_node: Callable[..., Node]
) -> None:
    node = make_node()
    endpoint = Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    gone = make_session(username="ada")
    open_here = make_session(endpoint, node_id=node.pk)
    closed = make_session(endpoint, close_cause="idle", close_code=4408)
    assert found(admin_client, Session, state="open") == [gone.pk, open_here.pk]
    assert found(admin_client, Session, state="closed") == [closed.pk]
    assert found(admin_client, Session, endpoint=endpoint.pk) == [open_here.pk, closed.pk]
    assert found(admin_client, Session, endpoint="deleted") == [gone.pk]
    assert found(admin_client, Session, node=node.pk) == [open_here.pk]
    assert found(admin_client, Session, close_cause__exact="idle") == [closed.pk]
    assert found(admin_client, Session, q="ada") == [gone.pk]


def test_a_lost_nodes_sessions_are_found_by_its_link(
    admin_client: Browser, make_session: Callable[..., Session], make_node: Callable[..., Node]
) -> None:
    node = make_node(state="lost")
    session = make_session(node_id=node.pk)
    make_session()
    assert found(admin_client, Session, node=node.pk) == [session.pk]


def test_a_sessions_page_shows_its_events_in_order(
    admin_client: Browser, make_session: Callable[..., Session], make_event: Callable[..., Event]
) -> None:
    session = make_session()
    close = make_event("close", peer=session.pk, seq=3, code=1000, cause="peer")
    opened = make_event("open", peer=session.pk, seq=1)
    error = make_event("error", peer=session.pk, seq=2, detail="<b>Boom</b>")
    make_event("open", peer="another", seq=1)
    page = admin_client.get(url(Session, "change", session.pk))
    assert page.context["websockets_events"] == [opened, error, close]
    assert "&lt;b&gt;Boom&lt;/b&gt;" in page.content.decode()
    assert found(admin_client, Event, peer=session.pk) == sorted([opened.pk, error.pk, close.pk])


def test_the_links_to_all_events_select_them(
    admin_client: Browser, make_event: Callable[..., Event], make_node: Callable[..., Node]
) -> None:
    endpoint = Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    client = Client.objects.create(name="feed", uri="ws://x/", handler="handlers.printer")
    node = make_node()
    expected = {
        endpoint: make_event("open", endpoint=endpoint),
        client: make_event("open", client=client),
        node: make_event("node_started", node_id=node.pk),
    }
    for row, event in expected.items():
        page = admin_client.get(url(type(row), "change", row.pk))
        assert page.context["websockets_events"] == [event]
        listed = admin_client.get(page.context["websockets_events_url"])
        assert list(listed.context["cl"].result_list) == [event]


def test_an_event_that_stands_for_many_shows_how_many_and_when(
    admin_client: Browser, make_event: Callable[..., Event]
) -> None:
    endpoint = Endpoint.objects.create(endpoint="chat", handler="handlers.echo")
    first_at = datetime(2026, 1, 2, 3, 4, 1, tzinfo=UTC)
    at = datetime(2026, 1, 2, 3, 5, 0, tzinfo=UTC)
    columns = {"at": at, "repeats": 1021, "first_at": first_at, "detail": "no"}
    event = make_event("refused", endpoint=endpoint, **columns)
    for page in (url(Event, LIST), url(Endpoint, "change", endpoint.pk)):
        assert "1021 × no" in admin_client.get(page).content.decode()
    text = admin_client.get(url(Event, "change", event.pk)).content.decode()
    assert ">1021<" in text
    assert localtime(first_at).strftime("%Y-%m-%d %H:%M:%S") in text
    assert localtime(at).strftime("%Y-%m-%d %H:%M:%S") in text


def test_a_node_shows_what_it_holds(
    admin_client: Browser, make_session: Callable[..., Session], make_node: Callable[..., Node]
) -> None:
    node = make_node()
    make_session(node_id=node.pk)
    make_session(node_id=node.pk, close_cause="peer", close_code=1000)
    page = admin_client.get(url(Node, LIST))
    assert page.context["cl"].result_list[0].open_sessions == 1


def test_a_minute_names_its_endpoint_or_client(admin_client: Browser) -> None:
    endpoint = Endpoint.objects.create(endpoint="the/echo", handler="handlers.echo")
    client = Client.objects.create(name="the feed", uri="ws://x/", handler="handlers.printer")
    for direction, row in (("in", endpoint), ("out", client)):
        Minute.objects.create(
            node_id="n", direction=direction, descriptor=row.pk, minute=timezone.now()
        )
    text = admin_client.get(url(Minute, LIST)).content.decode()
    assert "the/echo" in text
    assert "the feed" in text


@pytest.mark.parametrize("model", [Endpoint, Client, *RUNTIME])
def test_no_page_needs_an_inline_script_or_style(
    admin_client: Browser, rows: dict[type[Model], Model], model: type[Model]
) -> None:
    text = admin_client.get(url(model, LIST)).content.decode()
    if model in rows:
        text += admin_client.get(url(model, "change", rows[model].pk)).content.decode()
    assert "<style" not in text
    assert " style=" not in text
    assert " onclick=" not in text
    assert "<script>" not in text


def test_a_node_s_page_tells_how_it_is_reached_and_what_got_lost(
    admin_client: Browser, make_node: Callable[..., Node]
) -> None:
    node = make_node(channel="websockets_app.node.x!y", mail_lost=4711, mail_dropped=815)
    page = admin_client.get(url(Node, "change", node.pk)).content.decode()
    for shown in ("websockets_app.node.x!y", "Messages lost", "4711", "Messages dropped", "815"):
        assert shown in page
