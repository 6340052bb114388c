"""A client can't read an environment variable that no setting allows, however it was stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from tests.outbound.conftest import MakeHandler, MakePeer, Supervised
from websockets_app import exceptions as errors
from websockets_app import websockets
from websockets_app.models import Client
from websockets_app.outbound.config import problem_of

VALUE = "the-key-of-the-site"
NOBODY = "ws://127.0.0.1:9/"

READS_A_SECRET = pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("uri", {"uri": f"{NOBODY}?k=env:SITE_KEY"}),
        ("uri", {"uri": "ws://env:SITE_KEY/"}),
        ("uri", {"uri": "ws://me:env:SITE_KEY@127.0.0.1:9/"}),
        ("headers", {"headers": {"X-One": "1", "Authorization": "Bearer env:SITE_KEY"}}),
        ("proxy", {"proxy": "http://me:env:SITE_KEY@127.0.0.1:9"}),
    ],
)


@pytest.fixture(autouse=True)
def site_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_KEY", VALUE)
    monkeypatch.setenv("FEED_TOKEN", "a-token")


@READS_A_SECRET
def test_the_model_refuses_it_in_the_field_that_names_it(
    make_handler: MakeHandler, field: str, fields: dict[str, Any]
) -> None:
    row = Client(name="client", handler=make_handler(), **{"uri": NOBODY, **fields})
    with pytest.raises(ValidationError) as raised:
        row.full_clean(validate_unique=False, validate_constraints=False)
    assert list(raised.value.message_dict) == [field]
    (message,) = raised.value.message_dict[field]
    assert "WEBSOCKETS['CLIENT_ENVIRONMENT'] doesn't allow env:SITE_KEY" in message
    assert VALUE not in message


def test_the_model_accepts_what_the_setting_allows(make_handler: MakeHandler) -> None:
    row = Client(
        name="client",
        handler=make_handler(),
        uri="wss://example.com/?token=env:FEED_TOKEN",
        headers={"Authorization": "Bearer env:FEED_TOKEN"},
    )
    row.full_clean(validate_unique=False, validate_constraints=False)


@READS_A_SECRET
async def test_code_cannot_create_such_a_client(
    supervised: Supervised, make_handler: MakeHandler, field: str, fields: dict[str, Any]
) -> None:
    kind = errors.InvalidUri if field == "uri" else errors.InvalidClient
    with pytest.raises(kind, match="CLIENT_ENVIRONMENT"):
        await websockets.acreate_websocket(**{"uri": NOBODY, "handler": make_handler(), **fields})
    assert not await Client.objects.aexists()


async def test_a_row_that_no_form_has_seen_fails_and_dials_nobody(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    requests: list[Request | None] = []

    async def note(socket: ServerConnection) -> None:
        requests.append(socket.request)

    uri = await make_peer(note)
    told: list[str] = []
    handler = make_handler(on_error=lambda error: told.append(str(error)))
    row = await supervised.add(f"{uri}?k=env:SITE_KEY", handler)
    runtime = await supervised.wait_for("failed")
    assert "WEBSOCKETS['CLIENT_ENVIRONMENT']" in runtime.reason
    assert runtime.failure == "credential"
    assert "CLIENT_ENVIRONMENT" in await asyncio.to_thread(problem_of, row)
    shown = [runtime.reason, *told, *[event.detail for event in await supervised.events()]]
    assert VALUE not in " ".join(shown)
    assert not requests


async def test_a_value_that_looks_like_a_reference_is_not_read_again(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEED_TOKEN", "env:SITE_KEY")
    tokens: list[str] = []

    async def note(socket: ServerConnection) -> None:
        assert socket.request is not None
        tokens.append(socket.request.headers["Authorization"])
        await socket.wait_closed()

    headers = {"Authorization": "Bearer env:FEED_TOKEN"}
    await supervised.add(await make_peer(note), make_handler(), headers=headers)
    await supervised.wait_for("open")
    assert tokens == ["Bearer env:SITE_KEY"]
