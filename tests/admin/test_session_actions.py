"""Closing sessions, and writing to them, from the list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client as Browser
from django.utils import timezone

from tests.admin.pages import aact, act, log_in_operator, recorded, told, url
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import get_serving, stop_serving
from websockets_app.models import Endpoint, Event, Session

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
    assert told(response) == [f"Closed: {row}"]
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
    assert told(response) == [f"Sent to: {row}"]
    assert (await connection.next())["text"] == "  Grüße\n"
    assert await arecorded(row) == ["Sent a text of 8 characters."]


@pytest.mark.usefixtures("serving")
async def test_an_empty_text_is_asked_for_again(operator: Browser) -> None:
    connection = await connect()
    row = await session_row()
    response = await aact(operator, "send_text", row, text="")
    assert "This field is required" in response.content.decode()
    assert connection.sent.empty()


async def test_what_this_process_does_not_hold_is_told_and_not_recorded(operator: Browser) -> None:
    now = timezone.now()
    shared = {"endpoint_path": "feed", "handler": "h", "path": "/", "opened_at": now}
    elsewhere = await Session.objects.acreate(id="1" * 32, **shared)
    over = await Session.objects.acreate(
        id="2" * 32, closed_at=now, close_cause="peer", close_code=1000, **shared
    )
    response = await aact(operator, "close", elsewhere, over)
    assert told(response) == [
        f"Were closed already: {over}",
        f"Not held by this process: {elsewhere}",
    ]
    assert await arecorded(elsewhere) == []
    assert (await Session.objects.aget(pk=elsewhere.pk)).is_open


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
