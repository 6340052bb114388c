"""The pages of clients: secrets stay hidden, the runner's report is shown, actions steer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone

from tests.admin.pages import act, errors, form_data, recorded, told, url
from websockets_app.models import Client, ClientRuntime, Event, Node, OutboxMessage

LIST = "changelist"


def create(name: str = "feed", **columns: Any) -> Client:
    fields = {"uri": "wss://example.com/", "handler": "handlers.printer", **columns}
    return Client.objects.create(name=name, **fields)


def test_the_list_hides_credentials(admin_client: Browser) -> None:
    create(uri="wss://user:secret1@example.com/x?token=secret2")
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert "wss://example.com/x?token=…" in text
    assert "secret" not in text


def test_the_list_shows_the_runners_report(admin_client: Browser) -> None:
    row = create()
    ClientRuntime.objects.create(
        client=row, state="backoff", reason="HTTP 502\nand more", next_attempt_at=timezone.now()
    )
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert "websockets-backoff" in text
    assert "HTTP 502<br>" in text
    assert "and more" not in text


def test_a_client_that_no_runner_has_seen_is_unassigned(admin_client: Browser) -> None:
    row = create()
    assert "websockets-unassigned" in admin_client.get(url(Client, LIST)).content.decode()
    assert admin_client.get(url(Client, "change", row.pk)).status_code == 200


@pytest.mark.parametrize(("kind", "warned"), [("server", True), ("runner", False)])
def test_the_list_says_when_nobody_runs_the_clients(
    admin_client: Browser, make_node: Callable[..., Node], kind: str, warned: bool
) -> None:
    create()
    make_node(kind=kind)
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert ("No runner is alive" in text) == warned


def test_the_page_shows_the_report_and_survives_a_runner_that_is_gone(
    admin_client: Browser, make_event: Callable[..., Event]
) -> None:
    row = create()
    ClientRuntime.objects.create(client=row, state="open", holder_id="gone", messages_in=1234)
    make_event("connecting", client=row, detail="to example.com")
    text = admin_client.get(url(Client, "change", row.pk)).content.decode()
    assert "gone" in text
    assert "1234 in" in text
    assert "to example.com" in text


def test_the_form_normalises_the_handler(admin_client: Browser) -> None:
    page = admin_client.get(url(Client, "add"))
    data = form_data(page) | {"name": "new", "uri": "ws://example.com/", "handler": "printer.js"}
    response = admin_client.post(url(Client, "add"), data)
    assert response.status_code == 302
    assert Client.objects.get().handler == "handlers.printer"


@pytest.mark.parametrize(
    ("field", "value"),
    [("uri", "http://example.com/"), ("headers", "[]"), ("headers", '{"a": 1}'),
     ("subprotocols", "{}"), ("handler", "os")],
)  # fmt: skip
def test_the_form_refuses(admin_client: Browser, field: str, value: str) -> None:
    page = admin_client.get(url(Client, "add"))
    filled = {"name": "new", "uri": "ws://example.com/", "handler": "handlers.printer"}
    response = admin_client.post(url(Client, "add"), form_data(page) | filled | {field: value})
    assert list(errors(response)) == [field]


def test_a_change_of_a_secret_is_recorded_without_it(admin_client: Browser) -> None:
    row = create()
    page = admin_client.get(url(Client, "change", row.pk))
    data = form_data(page) | {"headers": '{"Authorization": "Bearer secret"}'}
    admin_client.post(url(Client, "change", row.pk), data)
    assert recorded(row) == ["Changed Headers."]


def test_run_and_stop_draw_revisions_and_leave_records(admin_client: Browser) -> None:
    rows = [create("one"), create("two", desired="stop")]
    before = Client.objects.revisions()
    response = act(admin_client, "stop", *rows)
    assert told(response) == ["To stop: one", "Nothing to change: two"]
    assert Client.objects.revisions()[rows[0].pk] != before[rows[0].pk]
    assert Client.objects.revisions()[rows[1].pk] == before[rows[1].pk]
    act(admin_client, "run", *rows)
    assert set(Client.objects.values_list("desired", flat=True)) == {"run"}
    assert recorded(rows[0]) == ["Changed Desired.", "Changed Desired."]


def test_who_may_only_look_gets_no_action(staff_browser: Callable[..., Browser]) -> None:
    row = create()
    act(staff_browser("view_client"), "stop", row)
    assert Client.objects.get().desired == "run"


@pytest.mark.parametrize("bulk", [False, True])
def test_deleting_takes_the_outbox_along_and_keeps_events(
    staff_browser: Callable[..., Browser], make_event: Callable[..., Event], bulk: bool
) -> None:
    browser = staff_browser("view_client", "delete_client")
    row = create()
    ClientRuntime.objects.create(client=row)
    OutboxMessage.objects.create(client=row, text="hello")
    make_event("close", client=row)
    if bulk:
        confirmation = act(browser, "delete_selected", row)
        act(browser, "delete_selected", row, post="yes")
    else:
        confirmation = browser.get(url(Client, "delete", row.pk))
        browser.post(url(Client, "delete", row.pk), {"post": "yes"})
    assert "outbox messages: 1" in confirmation.content.decode().lower()
    assert not Client.objects.exists()
    assert not OutboxMessage.objects.exists()
    assert Event.objects.count() == 1
