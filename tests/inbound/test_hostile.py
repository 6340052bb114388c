"""What a peer may say that isn't meant well: paths, headers, close frames. Nothing comes of it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import Serving
from websockets_app.models import Endpoint, Event, Session

Serve = Callable[..., Any]

INJECTION = "x\r\nERROR forged: all is lost\x1b[2K\x1b[31m\x9b\u2028\u202e\0"
PREFIX = "/websockets/v4/service/"


SWALLOWS = "seen = []\nasync def on_message(message):\n    seen.append(message)\n"


async def written(serving: Serving) -> list[str]:
    """Return every text in the rows of sessions and events."""
    assert await serving.node.recorder.flush()
    rows = [row async for row in Session.objects.values()]
    rows += [row async for row in Event.objects.values()]
    return [text for row in rows for text in _texts(row)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)


def said_by_logs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that our loggers wrote, and what they carry besides."""
    ours = [record for record in caplog.records if record.name.startswith("websockets_app")]
    extras = [
        str(getattr(record, name, "")) for record in ours for name in ("endpoint", "session")
    ]
    return [*(record.getMessage() for record in ours), *extras]


def refused_connection(path: str, **options: Any) -> Connection:
    connection = Connection("echo", extensions=["websocket.http.response"], **options)
    connection.scope["path"] = path
    return connection


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}../service/echo",
        f"{PREFIX}./echo",
        f"{PREFIX}x/../echo",
        f"/{PREFIX}echo",
        f"{PREFIX}/echo",
        f"{PREFIX}echo/",
        f"{PREFIX}echo/..",
        f"{PREFIX}echo;session=1",
        f"{PREFIX}echo\0",
        f"{PREFIX}echo\n",
        f"{PREFIX}echo%00",
        f"{PREFIX}%65cho",  # decoded once, by the server, and never again
        f"{PREFIX}ECHO",
        f"{PREFIX}ｅｃｈｏ",
        f"{PREFIX}echo\u200b",
        f"{PREFIX}echo\ud800",
        f"{PREFIX}echo?x",
        f"{PREFIX}room/..",
        f"{PREFIX}room/a%2fb",
        f"{PREFIX}number/{'9' * 5000}",  # Python refuses to make a number of it
        f"{PREFIX}number/٣",  # a digit, for some
        f"{PREFIX}{'x' * 60_000}",
        f"{PREFIX}{INJECTION}",
        "",
        "/",
        "*",
        "http://testserver" + PREFIX + "echo",
    ],
)
async def test_no_other_way_of_writing_a_path_leads_anywhere(
    serve: Serve, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    echo = {"handler": "handlers.echo"}
    serving = await serve(echo=echo, **{"room/<slug:name>": echo, "number/<int:n>": echo})
    connection = refused_connection(path)
    answer = await connection.connect()
    assert (answer["type"], answer["status"]) == ("websocket.http.response.start", 404)
    await connection.ended()
    texts = [*await written(serving), *said_by_logs(caplog)]
    assert any("no such endpoint" in text for text in texts)
    assert all(text.isprintable() and len(text) < 3000 for text in texts)


async def test_what_a_path_captures_is_handed_on_as_it_is(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = "def on_open(params):\n    return {name: str(v) for name, v in params.items()}"
    await serve(**{"files/<path:rest>": {"handler": write_handler("files", source)}})
    connection = Connection("files/../%2e%2e/etc")
    await connection.connect()
    assert (await connection.next())["text"] == '{"rest":"../../etc"}'
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize(
    "header", ["origin", "user-agent", "cookie", "x-forwarded-for", "referer"]
)
async def test_no_header_writes_lines_of_its_own(
    serve: Serve, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    serving = await serve(echo={"handler": "handlers.echo"}, private={
        "handler": "handlers.echo", "access": "authenticated",
    })  # fmt: skip
    evil = INJECTION.encode("latin-1", "replace").decode("latin-1")
    headers = [ORIGIN, (header, evil)] if header != "origin" else [(header, evil)]
    for path in ("echo", "private", "nowhere"):
        connection = Connection(path, headers=headers, subprotocols=[evil])
        connection.scope["query_string"] = evil.encode("latin-1")
        connection.scope["client"] = (evil, 1)  # as made of a header
        await connection.connect()
        connection.leave(1000, evil)
        await connection.ended()
    texts = [*await written(serving), *said_by_logs(caplog)]
    assert len(texts) > 10
    assert all(text.isprintable() for text in texts)


async def test_no_user_s_name_writes_lines_of_its_own(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    serving = await serve(private={"handler": "handlers.echo", "access": "authenticated"})
    name = INJECTION.replace("\0", "")
    user = await User.objects.acreate(username=name, is_staff=True)
    connection = Connection("private", user=user, headers=[ORIGIN])
    await connection.connect()
    await User.objects.aupdate(is_staff=False)
    (config,) = serving.registry._configs
    await Endpoint.objects.aupdate(access="staff")
    await aeventually(lambda: serving.registry.get(config).access == "staff")
    await serving.revocation.poll()
    assert (await connection.next())["code"] == 4403
    again = Connection("private", user=await User.objects.aget(), headers=[ORIGIN])
    assert (await again.connect())["type"] == "websocket.close"
    assert all(text.isprintable() for text in said_by_logs(caplog))
    assert "is no staff" in caplog.text


@pytest.mark.parametrize("code", [1, 999, 5000, 32_768, 65_535, -1])
async def test_a_close_code_that_there_is_not_is_an_error_of_the_protocol(
    serve: Serve, code: int
) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")
    await connection.connect()
    connection.leave(code, INJECTION)
    await connection.ended()
    texts = await written(serving)
    row = await Session.objects.aget()
    assert (row.close_code, row.close_cause) == (1002, "protocol")
    assert row.close_reason.startswith("x\\r\\nERROR")
    assert (await Event.objects.aget(kind="close")).code == 1002
    assert all(text.isprintable() for text in texts)


async def test_a_peer_whose_messages_are_always_ready_lets_others_run(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("swallows", SWALLOWS)
    await serve(swallows={"handler": reference, "messages_per_second": 0})
    connection = Connection("swallows")
    await connection.connect()
    for _ in range(20_000):
        connection.send("")
    connection.leave()
    turns, seen = 0, sys.modules[reference].seen
    while len(seen) < 20_000:
        await asyncio.sleep(0)
        turns += bool(seen)
    assert turns > 3
    await connection.ended()


async def test_a_peer_that_is_gone_before_it_is_refused_breaks_nothing(serve: Serve) -> None:
    serving = await serve()
    connection = Connection("nowhere")

    async def send(event: dict[str, Any]) -> None:
        raise OSError("the peer has left")

    connection.send_to_peer = send
    connection.begin()
    await connection.ended()
    assert await serving.node.recorder.flush()
    assert (await Event.objects.aget(kind="refused")).code == 4404
