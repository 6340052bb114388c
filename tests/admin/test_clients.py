"""The pages of clients: secrets stay hidden, the runner's report is shown, actions steer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

from tests.admin.pages import act, errors, form_data, recorded, told, url
from tests.admin.rows import create_client, create_message
from websockets_app.models import Client, ClientRuntime, Event, Node, OutboxMessage

LIST = "changelist"


def test_the_list_hides_credentials(admin_client: Browser) -> None:
    create_client(uri="wss://user:secret1@example.com/x?token=secret2")
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert "wss://example.com/x?token=…" in text
    assert "secret" not in text


def test_the_list_shows_the_runners_report(admin_client: Browser) -> None:
    row = create_client()
    ClientRuntime.objects.create(
        client=row, state="backoff", reason="HTTP 502\nand more", next_attempt_at=timezone.now()
    )
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert "websockets-backoff" in text
    assert "HTTP 502<br>" in text
    assert "and more" not in text


def test_a_client_that_no_runner_has_seen_is_unassigned(admin_client: Browser) -> None:
    row = create_client()
    assert "websockets-unassigned" in admin_client.get(url(Client, LIST)).content.decode()
    assert admin_client.get(url(Client, "change", row.pk)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "age", "warned"), [("server", 0, True), ("runner", 0, False), ("runner", 60, True)]
)
def test_the_list_says_when_nobody_runs_the_clients(
    admin_client: Browser, make_node: Callable[..., Node], kind: str, age: int, warned: bool
) -> None:
    create_client()
    make_node(kind=kind, renewed_at=timezone.now() - timedelta(seconds=age))
    text = admin_client.get(url(Client, LIST)).content.decode()
    assert ("No runner is alive" in text) == warned


def test_the_page_shows_the_report_and_survives_a_runner_that_is_gone(
    admin_client: Browser, make_event: Callable[..., Event]
) -> None:
    row = create_client()
    ClientRuntime.objects.create(client=row, state="open", holder_id="gone", messages_in=1234)
    make_event("connecting", client=row, detail="to example.com")
    text = admin_client.get(url(Client, "change", row.pk)).content.decode()
    assert "gone" in text
    assert "1234 in" in text
    assert "to example.com" in text


def test_the_page_counts_failures_only_while_a_client_waits_for_its_next_attempt(
    admin_client: Browser,
) -> None:
    row = create_client()
    runtime = ClientRuntime.objects.create(client=row, state="open", attempt=1)
    page = url(Client, "change", row.pk)
    assert "failures in a row" not in admin_client.get(page).content.decode()
    runtime.state, runtime.next_attempt_at = "backoff", timezone.now()
    runtime.save()
    assert "failures in a row</th><td>1<" in admin_client.get(page).content.decode()


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
    row = create_client()
    page = admin_client.get(url(Client, "change", row.pk))
    data = form_data(page) | {"headers": '{"Authorization": "Bearer secret"}'}
    admin_client.post(url(Client, "change", row.pk), data)
    assert recorded(row) == ["Changed Headers."]


def test_run_and_stop_draw_revisions_and_leave_records(admin_client: Browser) -> None:
    rows = [create_client("one"), create_client("two", desired="stop")]
    before = Client.objects.revisions()
    response = act(admin_client, "stop", *rows)
    assert told(response) == ["To stop: one", "Was to stop already: two"]
    assert Client.objects.revisions()[rows[0].pk] != before[rows[0].pk]
    assert Client.objects.revisions()[rows[1].pk] == before[rows[1].pk]
    act(admin_client, "run", *rows)
    assert set(Client.objects.values_list("desired", flat=True)) == {"run"}
    assert recorded(rows[0]) == ["Changed Desired.", "Changed Desired."]


def test_who_may_only_look_gets_no_action(staff_browser: Callable[..., Browser]) -> None:
    row = create_client()
    act(staff_browser("view_client"), "stop", row)
    assert Client.objects.get().desired == "run"


@pytest.mark.parametrize("bulk", [False, True])
def test_deleting_takes_the_outbox_along_and_keeps_events(
    staff_browser: Callable[..., Browser], make_event: Callable[..., Event], bulk: bool
) -> None:
    browser = staff_browser("view_client", "delete_client")
    row = create_client()
    ClientRuntime.objects.create(client=row)
    create_message(row)
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


@pytest.mark.parametrize("desired", ["run", "stop"])
def test_to_run_gives_up_the_close_that_is_queued(admin_client: Browser, desired: str) -> None:
    row = create_client(desired=desired)
    close = create_message(row, close_code=1000)
    text = create_message(row)
    response = act(admin_client, "run", row)
    assert "Its queued close is given up: feed" in told(response)
    close.refresh_from_db()
    text.refresh_from_db()
    assert (close.status, close.reason) == ("dead", "it is wanted open again")
    assert text.status == "queued"
    assert recorded(row)[-1] == "Gave its queued close up."


def test_an_uncertain_message_and_its_life_time_are_set_in_the_form(admin_client: Browser) -> None:
    row = create_client()
    page = admin_client.get(url(Client, "change", row.pk))
    data = form_data(page) | {"on_uncertain": "resend", "message_ttl": "1.5"}
    assert not {"ephemeral", "generation"} & data.keys()
    admin_client.post(url(Client, "change", row.pk), data)
    row.refresh_from_db()
    assert (row.on_uncertain, row.message_ttl) == ("resend", 1.5)


def test_ephemeral_clients_are_marked_and_found(admin_client: Browser) -> None:
    create_client("lasting")
    row = create_client("passing", ephemeral=True)
    page = admin_client.get(url(Client, LIST), {"ephemeral__exact": "1"})
    assert list(page.context["cl"].result_list) == [row]
    assert "websockets-ephemeral" in page.content.decode()
    assert "field-ephemeral" in admin_client.get(url(Client, "change", row.pk)).content.decode()


def test_the_page_counts_what_has_not_arrived_and_leads_to_it(admin_client: Browser) -> None:
    row = create_client()
    dead = create_message(row, status="dead")
    create_message(row, status="acknowledged")
    create_message(create_client("other"), status="dead")
    text = admin_client.get(url(Client, "change", row.pk)).content.decode()
    query = f"client={row.pk}&amp;status__exact=dead"
    assert f"?{query}" in text
    assert "status__exact=acknowledged" not in text
    found = admin_client.get(f"{url(OutboxMessage, LIST)}?{query.replace('&amp;', '&')}")
    assert list(found.context["cl"].result_list) == [dead]


def test_a_text_is_asked_for_and_queued_whether_a_client_is_open_or_not(
    admin_client: Browser,
) -> None:
    rows = [create_client("one", message_ttl=60), create_client("two", desired="stop")]
    question = act(admin_client, "send_text", *rows)
    assert "The text waits in the outbox of each of 2 clients" in question.content.decode()
    response = act(admin_client, "send_text", *rows, text="Grüße")
    assert told(response) == ["Queued for: one, two"]
    first, second = OutboxMessage.objects.order_by("client__name")
    assert (first.text, second.text) == ("Grüße", "Grüße")
    assert first.expires_at is not None
    assert second.expires_at is None
    assert recorded(rows[0]) == ["Queued a text of 5 characters."]


def test_a_text_that_is_too_big_is_queued_for_nobody(
    admin_client: Browser, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "OUTBOX_MESSAGE_SIZE": 3}
    row = create_client()
    response = act(admin_client, "send_text", row, text="four")
    assert "OUTBOX_MESSAGE_SIZE" in told(response)[0]
    assert not OutboxMessage.objects.exists()
    assert recorded(row) == []


def test_nothing_is_queued_for_a_client_that_has_ended(admin_client: Browser) -> None:
    row = create_client(ephemeral=True)
    ClientRuntime.objects.create(client=row, state="stopped", ended_at=timezone.now())
    assert told(act(admin_client, "send_text", row, text="x")) == ["Have ended: feed"]
    assert not OutboxMessage.objects.exists()


def test_closing_tells_who_connects_again_and_who_ends(admin_client: Browser) -> None:
    lasting, ephemeral = create_client("lasting"), create_client("passing", ephemeral=True)
    stopped = create_client("stopped", desired="stop")
    response = act(admin_client, "close_connection", lasting, ephemeral, stopped)
    assert told(response) == [
        "To close and connect again: lasting",
        "To close and end: passing",
        "Nothing to close: not to run: stopped",
    ]
    generations = dict(Client.objects.values_list("name", "generation"))
    assert generations == {"lasting": 1, "passing": 1, "stopped": 0}
    assert recorded(lasting) == ["Closed the connection."]
    assert recorded(stopped) == []


def buttons(browser: Browser, row: Client) -> list[str]:
    page = browser.get(url(Client, "change", row.pk))
    return [tool.action for tool in page.context["websockets_tools"]]


def test_only_who_may_change_clients_can_write_to_them_and_close_them(
    staff_browser: Callable[..., Browser],
) -> None:
    row = create_client()
    changes, looks = staff_browser("change_client"), staff_browser("view_client")
    assert buttons(changes, row) == ["send_text", "close_connection"]
    assert buttons(looks, row) == []
    act(looks, "send_text", row, text="x")
    act(looks, "close_connection", row)
    assert not OutboxMessage.objects.exists()
    assert Client.objects.get().generation == 0


def test_the_form_refuses_a_variable_that_no_setting_allows(
    staff_browser: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_KEY", "the-key-of-the-site")
    browser = staff_browser("add_client", "view_client")
    data = form_data(browser.get(url(Client, "add"))) | {
        "name": "thief",
        "handler": "handlers.printer",
        "uri": "ws://thief.example/?k=env:SITE_KEY",
        "headers": '{"X": "env:SITE_KEY"}',
    }
    response = browser.post(url(Client, "add"), data)
    assert set(errors(response)) == {"uri", "headers"}
    assert "WEBSOCKETS[&#x27;CLIENT_ENVIRONMENT&#x27;]" in response.content.decode()
    assert "the-key-of-the-site" not in response.content.decode()
    assert not Client.objects.exists()
