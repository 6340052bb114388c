"""Closing sessions, and writing to them, from the list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import redis
from asgiref.sync import sync_to_async
from django.contrib.admin import site
from django.db import connection, connections
from django.db.models import QuerySet
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

from tests.admin.pages import aact, act, log_in_operator, recorded, told, url
from tests.inbound.driver import Connection
from tests.infrastructure.layers import use_layer
from tests.infrastructure.waiting import aeventually
from websockets_app.admin.session import SessionAdmin
from websockets_app.inbound.serving import get_serving, stop_serving
from websockets_app.models import Endpoint, Event, Node, Session

CHANNEL = "websockets_app.node.x!y"

arecorded = sync_to_async(recorded)


@pytest.fixture
async def serving(transactional_db: None) -> AsyncIterator[None]:
    """Serve one endpoint in this process, whose handler answers nothing."""
    await Endpoint.objects.acreate(endpoint="feed", access="public", handler="handlers.printer")
    await get_serving()
    yield
    await stop_serving()
    # Of the thread that runs the asynchronous ORM: PostgreSQL drops no database that is in use.
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def operator(transactional_db: None) -> Browser:
    return await log_in_operator()


async def connect() -> Connection:
    connection = Connection("feed")
    assert (await connection.connect())["type"] == "websocket.accept"
    return connection


async def session_row(**conditions: Any) -> Session:
    """Return the one session's row, once the recorder has written it."""
    found = await aeventually(lambda: Session.objects.filter(**conditions).afirst())
    assert isinstance(found, Session)
    return found


@pytest.mark.usefixtures("serving")
async def test_an_operator_closes_a_session(operator: Browser) -> None:
    connection = await connect()
    row = await session_row()
    response = await aact(operator, "close", row)
    assert told(response) == [f"Closed (1): {row}"]
    closing = await connection.next()
    assert (closing["type"], closing["code"]) == ("websocket.close", 1000)
    closed = await session_row(closed_at__isnull=False)
    assert (closed.close_code, closed.close_cause) == (1000, "admin")
    assert await arecorded(row) == ["Closed the session."]
    assert await Event.objects.filter(peer=row.pk, kind="close", cause="admin").acount() == 1


@pytest.mark.usefixtures("serving")
async def test_a_text_is_asked_for_and_sent(operator: Browser) -> None:
    connection = await connect()
    row = await session_row()
    question = await aact(operator, "send_text", row)
    assert row.pk in question.content.decode()
    response = await aact(operator, "send_text", row, text="  Grüße\n")
    assert told(response) == [f"Sent to (1): {row}"]
    assert (await connection.next())["text"] == "  Grüße\n"
    assert await arecorded(row) == ["Sent a text of 8 characters."]


@pytest.mark.usefixtures("serving")
async def test_an_empty_text_is_asked_for_again(operator: Browser) -> None:
    connection = await connect()
    row = await session_row()
    response = await aact(operator, "send_text", row, text="")
    assert "This field is required" in response.content.decode()
    assert connection.sent.empty()


@pytest.fixture
async def sessions_elsewhere(transactional_db: None) -> dict[str, Session]:
    """A session of each kind that this process doesn't hold."""
    now = timezone.now()
    alive = {"kind": "server", "pid": 1, "started_at": now, "renewed_at": now}
    await Node.objects.acreate(id="a" * 32, channel=CHANNEL, **alive)
    await Node.objects.acreate(id="b" * 32, channel="", **alive)
    columns: dict[str, dict[str, Any]] = {
        "elsewhere": {"node_id": "a" * 32},
        "deaf": {"node_id": "b" * 32},
        "orphaned": {"node_id": "c" * 32},
        "over": {"closed_at": now, "close_cause": "peer", "close_code": 1000},
    }
    return {
        name: await Session.objects.acreate(
            id=f"{number:032x}", endpoint_path=name, path="/", opened_at=now, **more
        )
        for number, (name, more) in enumerate(columns.items(), start=1)
    }


def test_what_other_processes_hold_is_passed_on_counted_and_recorded(
    sessions_elsewhere: dict[str, Session],
    admin_client: Browser,
    settings: Settings,
    valkey_url: str,
) -> None:
    prefix = use_layer(settings, valkey_url)
    elsewhere, deaf, orphaned, over = sessions_elsewhere.values()
    response = act(admin_client, "send_text", elsewhere, deaf, orphaned, over, text="hello")
    *rest, unreached = told(response)
    assert rest == [
        f"Passed on to their processes (1): {elsewhere}",
        f"Were closed already (2): {over}, {orphaned}",
    ]
    assert unreached.startswith(f"Can't be reached (1): {deaf}. The node of session {deaf.pk}")
    assert [len(recorded(row)) for row in sessions_elsewhere.values()] == [1, 0, 0, 0]
    with redis.Redis.from_url(valkey_url) as client:
        (waiting,) = client.zrange(f"{prefix}{CHANNEL.partition('!')[0]}!", 0, -1)
    assert b"hello" in waiting


def test_without_a_layer_that_spans_processes_an_operator_reads_which_setting_is_missing(
    sessions_elsewhere: dict[str, Session], admin_client: Browser
) -> None:
    elsewhere = sessions_elsewhere["elsewhere"]
    (message,) = told(act(admin_client, "close", elsewhere))
    assert message.startswith(f"Can't be reached (1): {elsewhere}. ")
    assert "configure channels-redis. CHANNEL_LAYERS['default'] (InMemory" in message
    assert recorded(elsewhere) == []


def steers(browser: Browser, session: Session) -> set[str]:
    page = browser.get(url(Session, "changelist"))
    form = page.context["action_form"]
    offered = {value for value, _ in form.fields["action"].choices} if form else set()
    button = b"Close session" in browser.get(url(Session, "change", session.pk)).content
    return offered - {""} | ({"button"} if button else set())


def test_only_who_may_change_sessions_can_steer_them(
    staff_browser: Callable[..., Browser], make_session: Callable[..., Session]
) -> None:
    session = make_session()
    looks = staff_browser("view_session")
    assert steers(looks, session) == set()
    assert steers(staff_browser("change_session"), session) == {"close", "send_text", "button"}
    response = act(looks, "send_text", session)
    assert "send_text.html" not in str([template.name for template in response.templates])


def test_a_closed_session_has_no_buttons(
    admin_client: Browser, make_session: Callable[..., Session]
) -> None:
    session = make_session(close_cause="peer", close_code=1000)
    assert "button" not in steers(admin_client, session)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="how SQLite tells its plans")
@pytest.mark.django_db
def test_the_events_of_a_session_are_read_in_the_order_of_an_index() -> None:
    page = SessionAdmin(Session, site)
    events = cast("QuerySet[Event]", page.events_of(Session(pk="s", node_id="node")))
    plan = events.explain()
    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan
