"""The sample handlers do what the demo says of them, behind a real Daphne."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.conftest import Demo
from tests.infrastructure.waiting import SCALE, eventually

pytestmark = pytest.mark.xdist_group("demo")

MEBIBYTE = 1024 * 1024


def receive(connection: ClientConnection) -> Any:
    """Return the next message; JSON is decoded."""
    message = connection.recv(timeout=5 * SCALE)
    return json.loads(message) if isinstance(message, str) else message


def test_echo_returns_text_and_binary_up_to_the_row_s_limit(demo: Demo) -> None:
    with connect(demo.server.ws("echo"), max_size=None) as connection:
        for message in ("grüße", "", b"\x00\xff", bytes(15 * MEBIBYTE)):
            connection.send(message)
            assert connection.recv(timeout=20 * SCALE) == message


def test_members_of_a_room_hear_each_other_and_no_other_room(demo: Demo) -> None:
    with (
        connect(demo.server.ws("room/kitchen")) as tom,
        connect(demo.server.ws("room/attic")) as stranger,
    ):
        tom_is = receive(tom)["joined"]
        stranger_is = receive(stranger)["joined"]
        with connect(demo.server.ws("room/kitchen")) as jerry:
            jerry_is = receive(jerry)["joined"]
            assert receive(tom) == {"joined": jerry_is}
            tom.send("Hello Jerry!")
            said = {"from": tom_is, "text": "Hello Jerry!"}
            assert receive(jerry) == said
            assert receive(tom) == said
        assert receive(tom) == {"left": jerry_is}
        stranger.send("Is anybody here?")
        assert receive(stranger) == {"from": stranger_is, "text": "Is anybody here?"}


def test_a_room_answers_what_it_does_not_understand(demo: Demo) -> None:
    with connect(demo.server.ws("room/kitchen")) as connection:
        assert "joined" in receive(connection)
        connection.send(b"\x00")
        assert "error" in receive(connection)


def test_the_ticker_tells_the_time_and_stops_with_its_session(demo: Demo) -> None:
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


def test_the_printer_prints_what_happens(demo: Demo) -> None:
    demo.site.shell(
        "Endpoint.objects.create(endpoint='printer', handler='handlers.printer', access='public')"
    )

    def said(text: str) -> bool:
        return text in demo.server.output

    connection = eventually(lambda: _connected(demo.server.ws("printer")))
    with connection:
        connection.send("hello")
        eventually(lambda: said("Message received: 'hello'"))
        assert said("Connection opened.")
    eventually(lambda: said("Connection closed."))


def _connected(uri: str) -> ClientConnection | None:
    """Return a connection, or None while the endpoint isn't served yet."""
    try:
        return connect(uri)
    except InvalidStatus:
        return None
