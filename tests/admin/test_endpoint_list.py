"""The list of endpoints: what it shows, what it costs, and its actions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext, override_script_prefix

from tests.admin.pages import act, recorded, told, url
from websockets_app.models import Client, Endpoint, Event, Minute, Node, OutboxMessage, Session

LIST = "changelist"


def create(number: int, **columns: object) -> list[Endpoint]:
    return [
        Endpoint.objects.create(
            **{"endpoint": f"path{index}", "handler": "handlers.echo", **columns}
        )
        for index in range(number)
    ]


def test_it_shows_open_sessions_last_event_and_url(
    admin_client: Browser,
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
) -> None:
    (row,) = create(1)
    make_session(row)
    make_session(row)
    make_session(row, close_cause="peer", close_code=1000)
    make_event("open", endpoint=row)
    make_event("refused", endpoint=row)
    page = admin_client.get(url(Endpoint, LIST))
    (shown,) = page.context["cl"].result_list
    assert shown.open_sessions == 2
    assert shown.last_event_kind == "refused"
    text = page.content.decode()
    assert f'<a href="{url(Session, LIST)}?endpoint={row.pk}&amp;state=open">2</a>' in text
    assert "<code>ws://testserver/websockets/v4/service/path0</code>" in text


def test_the_url_begins_with_the_script_name(admin_client: Browser) -> None:
    create(1)
    with override_script_prefix("/app/"):
        text = admin_client.get(url(Endpoint, LIST).removeprefix("/app")).content.decode()
    assert "<code>ws://testserver/app/websockets/v4/service/path0</code>" in text


def test_it_shows_the_problem_of_a_row(
    admin_client: Browser, write_handler: Callable[[str, str], str]
) -> None:
    create(1, handler=write_handler("empty", "x = 1"))
    assert "has no callback" in admin_client.get(url(Endpoint, LIST)).content.decode()


def test_a_row_with_a_path_that_no_form_would_take_is_a_problem(admin_client: Browser) -> None:
    create(1)
    Endpoint.objects.update(endpoint="chat/<nope:x>")
    assert "nope" in admin_client.get(url(Endpoint, LIST)).content.decode()


@pytest.mark.parametrize("model", [Endpoint, Client, Session, Event, Minute, Node, OutboxMessage])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    model: type[Endpoint],
    admin_client: Browser,
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
    make_node: Callable[..., Node],
) -> None:
    def add(numbers: range) -> None:
        for number in numbers:
            row = Endpoint.objects.create(endpoint=f"p{number}", handler="handlers.echo")
            client = Client.objects.create(
                name=f"c{number}", uri="ws://x/", handler="handlers.echo"
            )
            OutboxMessage.objects.create(client=client, text="hello")
            make_node()
            make_session(row)
            event = make_event("open", endpoint=row, peer="p")
            Minute.objects.create(
                node_id=event.node_id, direction="in", descriptor=row.pk, minute=event.at
            )

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(url(model, LIST)).status_code == 200
        return len(queries)

    add(range(3))
    cost()  # what is cached for ever (content types, loaded handlers) is cached now
    few = cost()
    add(range(3, 30))
    assert cost() == few


def test_disable_and_enable_draw_revisions_and_leave_records(admin_client: Browser) -> None:
    rows = create(2)
    before = Endpoint.objects.revisions()
    response = act(admin_client, "disable", *rows)
    assert told(response) == ["Disabled: path0, path1"]
    assert not Endpoint.objects.filter(enabled=True).exists()
    assert all(Endpoint.objects.revisions()[row.pk] != before[row.pk] for row in rows)
    act(admin_client, "enable", rows[0])
    assert recorded(rows[0]) == ["Changed Enabled.", "Changed Enabled."]
    assert recorded(rows[1]) == ["Changed Enabled."]


def test_rows_that_are_as_asked_are_left_alone_and_told(admin_client: Browser) -> None:
    off, on = create(2)
    Endpoint.objects.filter(pk=off.pk).disable()
    before = Endpoint.objects.revisions()
    response = act(admin_client, "disable", off, on)
    assert told(response) == ["Disabled: path1", "Was disabled already: path0"]
    assert Endpoint.objects.revisions()[off.pk] == before[off.pk]
    assert recorded(off) == []


def test_who_may_only_look_gets_no_action(staff_browser: Callable[..., Browser]) -> None:
    rows = create(1)
    act(staff_browser("view_endpoint"), "disable", *rows)
    assert Endpoint.objects.get().enabled
    act(staff_browser("view_endpoint", "change_endpoint"), "disable", *rows)
    assert not Endpoint.objects.get().enabled


@pytest.mark.parametrize("bulk", [False, True])
def test_deleting_keeps_the_history_and_does_not_list_it(
    admin_client: Browser,
    make_session: Callable[..., Session],
    make_event: Callable[..., Event],
    bulk: bool,
) -> None:
    rows = create(2)
    session = make_session(rows[0], close_cause="peer", close_code=1000)
    make_event("close", endpoint=rows[0], peer=session.pk)
    if bulk:
        confirmation = act(admin_client, "delete_selected", *rows)
        act(admin_client, "delete_selected", *rows, post="yes")
    else:
        confirmation = admin_client.get(url(Endpoint, "delete", rows[0].pk))
        admin_client.post(url(Endpoint, "delete", rows[0].pk), {"post": "yes"})
    assert session.pk[:8] not in confirmation.content.decode()
    assert Endpoint.objects.count() == (0 if bulk else 1)
    assert Session.objects.get().endpoint_path == "path0"
    assert Event.objects.count() == 1
    for page in (url(Session, LIST), url(Session, "change", session.pk), url(Event, LIST)):
        assert admin_client.get(page).status_code == 200
    found = admin_client.get(url(Session, LIST), {"endpoint": "deleted"})
    assert [row.pk for row in found.context["cl"].result_list] == [session.pk]
