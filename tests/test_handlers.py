"""The sample handlers do what the demo says of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.conftest import Demo
from tests.infrastructure.waiting import SCALE, eventually
from websockets_app.testing import AsyncConversation, Conversation

MEBIBYTE = 1024 * 1024

Converse = Callable[..., Conversation]


def test_echo_returns_text_and_binary(websocket_conversation: Converse) -> None:
    echo = websocket_conversation("handlers.echo")
    for message in ("grüße", "", b"\x00\xff"):
        echo.send(message)
        assert echo.receive() == message


def test_members_of_a_room_hear_each_other_and_no_other_room(
    websocket_conversation: Converse,
) -> None:
    tom = websocket_conversation("handlers.room", params={"room": "kitchen"})
    stranger = websocket_conversation("handlers.room", params={"room": "attic"})
    tom_is, stranger_is = tom.receive_json()["joined"], stranger.receive_json()["joined"]
    with Conversation("handlers.room", params={"room": "kitchen"}) as jerry:
        jerry_is = jerry.receive_json()["joined"]
        assert tom.receive_json() == {"joined": jerry_is}
        tom.send("Hello Jerry!")
        said = {"from": tom_is, "text": "Hello Jerry!"}
        assert jerry.receive_json() == tom.receive_json() == said
    assert tom.receive_json() == {"left": jerry_is}
    stranger.send("Is anybody here?")
    assert stranger.receive_json() == {"from": stranger_is, "text": "Is anybody here?"}
    assert len(stranger.received) == 2


def test_a_room_answers_what_it_does_not_understand(websocket_conversation: Converse) -> None:
    member = websocket_conversation("handlers.room", params={"room": "kitchen"})
    assert "joined" in member.receive_json()
    member.send(b"\x00")
    assert "error" in member.receive_json()


async def test_the_ticker_tells_the_time_and_stops_with_its_session() -> None:
    before = asyncio.all_tasks()
    async with AsyncConversation("handlers.ticker", timeout=5 * SCALE) as ticker:
        first, second = await ticker.receive_json(), await ticker.receive_json()
    assert first["time"] < second["time"]
    await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)
    assert asyncio.all_tasks() == before


def test_the_printer_prints_what_happens(
    websocket_conversation: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = websocket_conversation("handlers.printer", direction="out")
    printer.send("hello")
    printer.disconnect()
    assert capsys.readouterr().out.splitlines() == [
        "Connection opened.", "Message received: 'hello'", "Connection closed.",
    ]  # fmt: skip


@pytest.mark.xdist_group("demo")
class TestBehindDaphne:
    """What only a server shows: sizes, rows, and the output of a process."""

    def test_echo_returns_messages_up_to_the_row_s_limit(self, demo: Demo) -> None:
        with connect(demo.server.ws("echo"), max_size=None) as connection:
            for message in ("grüße", "", b"\x00\xff", bytes(MEBIBYTE)):
                connection.send(message)
                assert connection.recv(timeout=20 * SCALE) == message

    def test_members_of_a_room_hear_each_other(self, demo: Demo) -> None:
        with connect(demo.server.ws("room/kitchen")) as tom:
            assert "joined" in receive(tom)
            with connect(demo.server.ws("room/kitchen")) as jerry:
                jerry_is = receive(jerry)["joined"]
                assert receive(tom) == {"joined": jerry_is}
                jerry.send("Hello Tom!")
                assert receive(tom) == {"from": jerry_is, "text": "Hello Tom!"}

    def test_tom_and_jerry_chat_over_the_2x_service(self, demo: Demo) -> None:
        def ask(connection: ClientConnection, **params: str) -> None:
            request = {"module": "/chat/chat_service.js", "params": params}
            connection.send(json.dumps(request))

        with (
            connect(demo.server.ws("/service/js")) as tom,
            connect(demo.server.ws("/service/js")) as jerry,
        ):
            for name, connection in (("Tom", tom), ("Jerry", jerry)):
                ask(connection, type="welcome", **{"from": name})
                assert connection.recv(timeout=5 * SCALE) == f"Welcome {name}!"
            ask(tom, type="message", to="Jerry", message="Hello Jerry!", **{"from": "Tom"})
            assert jerry.recv(timeout=5 * SCALE) == "Hello Jerry!"

    def test_the_ticker_s_sessions_are_recorded(self, demo: Demo) -> None:
        with connect(demo.server.ws("ticker")) as connection:
            first, second = receive(connection), receive(connection)
        assert first["time"] < second["time"]
        [closed] = eventually(
            lambda: demo.site.rows(
                "SELECT close_cause FROM websockets_app_session"
                " WHERE closed_at IS NOT NULL AND endpoint_path = 'ticker' AND messages_out > 1"
            )
        )
        assert closed == {"close_cause": "peer"}
        assert "raised" not in demo.server.output

    def test_the_printer_prints_in_the_process_that_serves_it(self, demo: Demo) -> None:
        demo.site.shell(
            "Endpoint.objects.create(endpoint='printer', handler='handlers.printer',"
            " access='public')"
        )
        with eventually(lambda: connected(demo.server.ws("printer"))) as connection:
            connection.send("hello")
            eventually(lambda: "Message received: 'hello'" in demo.server.output)
        eventually(lambda: "Connection closed." in demo.server.output)


def receive(connection: ClientConnection) -> Any:
    """Return the next message; JSON is decoded."""
    message = connection.recv(timeout=5 * SCALE)
    return json.loads(message) if isinstance(message, str) else message


def connected(uri: str) -> ClientConnection | None:
    """Return a connection, or None while the endpoint isn't served yet."""
    try:
        return connect(uri)
    except InvalidStatus:
        return None
