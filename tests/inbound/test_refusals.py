"""What a peer is told who may not enter: a status before accept, or a close code after it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN, log_in
from tests.infrastructure.waiting import SCALE, aeventually
from websockets_app.inbound import admission, logins
from websockets_app.models import Event
from websockets_app.node.node import LOOKUP_THREADS

Serve = Callable[..., Any]

REFUSALS = [
    pytest.param("nowhere", None, [ORIGIN], 404, 4404, id="no endpoint"),
    pytest.param("disabled", None, [ORIGIN], 404, 4404, id="a disabled endpoint"),
    pytest.param("private", None, [ORIGIN], 403, 4401, id="nobody"),
    pytest.param("private", "gone", [ORIGIN], 403, 4401, id="somebody deactivated"),
    pytest.param("private", "tom", [], 403, 4403, id="no origin"),
    pytest.param("echo", None, [("origin", "https://evil.test")], 403, 4403, id="an origin"),
    pytest.param("staff", "tom", [ORIGIN], 403, 4403, id="no staff"),
    pytest.param("permitted", "tom", [ORIGIN], 403, 4403, id="no permission"),
    pytest.param("busy", "tom", [ORIGIN], 403, 4429, id="may_open says when"),
    pytest.param("broken", None, [ORIGIN], 503, 1011, id="a broken handler"),
    pytest.param("two/a-b", None, [ORIGIN], 503, 1011, id="two captures in a segment"),
    pytest.param("files/".ljust(2048, "x"), None, [ORIGIN], 404, 4404, id="a long path"),
]


@pytest.fixture
async def served(serve: Serve, write_handler: WriteHandler) -> Any:
    echo = {"handler": "handlers.echo"}
    busy = write_handler("busy", "def may_open():\n    return 4429\ndef on_open(): pass")
    await User.objects.acreate(username="tom")
    await User.objects.acreate(username="gone", is_active=False)
    return await serve(
        echo=echo,
        disabled={**echo, "enabled": False},
        private={**echo, "access": "authenticated"},
        staff={**echo, "access": "staff"},
        permitted={**echo, "permission": "websockets_app.view_endpoint"},
        busy={"handler": busy},
        broken={"handler": "handlers.nowhere"},
        **{"two/<slug:a>-<slug:b>": {**echo, "access": "staff"}, "files/<path:rest>": echo},
    )


async def arrive(path: str, name: str | None, **options: Any) -> Connection:
    user = await User.objects.aget(username=name) if name else None
    return Connection(path, user=user, **options)


@pytest.mark.parametrize(("path", "user", "headers", "status", "code"), REFUSALS)
async def test_a_refusal_is_a_status_where_the_server_has_one_and_a_close_elsewhere(
    served: Any, path: str, user: str | None, headers: Any, status: int, code: int
) -> None:
    connection = await arrive(path, user, headers=headers)
    assert await connection.connect() == {"type": "websocket.close"}  # servers make it a 403
    await connection.ended()
    telling = await arrive(path, user, headers=headers, extensions=["websocket.http.response"])
    assert await telling.status() == status
    await telling.ended()
    assert await served.node.recorder.flush()
    events = [event async for event in Event.objects.filter(kind="refused")]
    assert [event.code for event in events] == [code, code]
    assert all(event.detail for event in events)


@pytest.mark.parametrize(("path", "user", "headers", "status", "code"), REFUSALS)
async def test_a_refusal_is_an_accept_and_a_close_that_says_why_where_the_site_wants_that(
    served: Any,
    settings: Settings,
    path: str,
    user: str | None,
    headers: Any,
    status: int,
    code: int,
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "REFUSE_WITH": "close"}
    connection = await arrive(path, user, headers=headers)
    assert (await connection.connect())["type"] == "websocket.accept"
    assert await connection.next() == {"type": "websocket.close", "code": code}
    await connection.ended()


@pytest.mark.parametrize(("failures", "status"), [(1, 101), (2, 503)])
async def test_a_connection_to_the_database_that_was_cut_meanwhile_refuses_nobody(
    served: Any, monkeypatch: pytest.MonkeyPatch, failures: int, status: int
) -> None:
    ann = await log_in("ann")
    load_user, cuts = logins.load_user, ["server closed the connection unexpectedly"] * failures

    def cut(key: str) -> logins.Known:
        if cuts:
            raise OperationalError(cuts.pop())
        return load_user(key)

    monkeypatch.setattr(logins, "load_user", cut)
    extensions = ["websocket.http.response"]
    connection = Connection("private", headers=ann.headers, extensions=extensions)
    assert await connection.status() == status
    connection.leave()
    await connection.ended()


async def test_a_database_that_comes_back_is_not_asked_for_those_who_were_refused_meanwhile(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.limits.breakers[True].patience = 0.05
    back, asked = threading.Event(), []
    monkeypatch.setattr(admission.logins, "load_user", asked.append)
    lookups = served.node.lookups
    hanging = [asyncio.ensure_future(lookups.run(back.wait)) for _ in range(LOOKUP_THREADS)]
    await asyncio.sleep(0)
    headers = [ORIGIN, ("cookie", "sessionid=abc")]
    late = await arrive("private", None, headers=headers, extensions=["websocket.http.response"])
    assert (await late.connect())["status"] == 503
    back.set()
    await asyncio.gather(*hanging)
    await aeventually(lambda: lookups.waiting == 0)
    assert asked == []


async def test_after_one_who_waited_in_vain_nobody_waits_until_the_database_answers(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await log_in("ann")
    for breaker in served.limits.breakers.values():
        breaker.patience = 0.5
    load_user, back, asked = logins.load_user, threading.Event(), []

    def hang(key: str) -> logins.Known:
        asked.append(key)
        back.wait(30)
        return load_user(key)

    async def status_at(path: str) -> int:
        extensions = ["websocket.http.response"]
        connection = Connection(path, headers=ann.headers, extensions=extensions)
        status = await connection.status()
        connection.leave()
        await connection.ended()
        return status

    monkeypatch.setattr(logins, "load_user", hang)
    for path, status in (("echo", 101), ("private", 503)):
        assert await status_at(path) == status  # which waits
        begun, asked_before = time.monotonic(), len(asked)
        served.node.lease.renewed_at = None  # as of a lease that can't be renewed either
        for _ in range(5):
            assert await status_at(path) == status
        assert time.monotonic() - begun < 0.5 * SCALE
        assert len(asked) == asked_before
    back.set()
    await served.node.lease.beat()
    assert await status_at("private") == 101


@pytest.mark.parametrize("part", ["_private", "__main__"])
async def test_a_row_that_was_written_past_the_form_serves_no_private_module(
    serve: Any, write_handler: WriteHandler, part: str
) -> None:
    await serve(raw={"handler": write_handler(part, "def on_message(): pass")})
    connection = await arrive("raw", None, extensions=["websocket.http.response"])
    assert await connection.status() == 503
    await connection.ended()
