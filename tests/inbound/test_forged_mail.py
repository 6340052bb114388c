"""Messages that somebody puts into the channel layer by hand: nothing enters, nothing breaks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import msgpack
import pytest
import redis
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from pytest_django import Settings

from tests.inbound.driver import Connection
from tests.infrastructure.layers import CORE, PUBSUB, use_layer
from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import CloseCause
from websockets_app.inbound.serving import Serving, stop_serving
from websockets_app.models import Node
from websockets_app.node import channel_layer, mail
from websockets_app.node import layer as layers
from websockets_app.node.layer import GROUP, MAIL, NUDGE

Serve = Callable[..., Any]
Message = dict[str, Any]

FOREIGN: list[Message] = [
    {"type": "websocket.connect"},
    {"type": "websocket.receive", "text": "forged"},
    {"type": "websocket.receive", "bytes": b"forged"},
    {"type": "websocket.send", "text": "forged"},
    {"type": "websocket.close", "code": 4000},
    {"type": "websocket.disconnect", "code": 1000},
    {"type": "http.disconnect"},
    {"type": "http.request", "body": b"forged"},
    {"type": "dispatch"},
    {"type": "__call__"},
    {"type": None},
    {"type": 7},
    {"type": [MAIL]},
    {"type": {"type": MAIL}},
    {"type": MAIL.upper()},
    {"type": MAIL + "\n"},
    {"type": MAIL},
    {},
    *({"type": NUDGE, "topic": topic} for topic in ("forged", None, 1, [], {}, b"outbox")),
]
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**15, 999, 1005, 1006, "\x1b[31m\n", b"\xff", [], ["x"], {},
    {"x": {"x": {"x": []}}}, "x" * 100_000,
]  # fmt: skip
"""What no field of ours may be, but for those that take anything of its type."""
ANY_OF = {"peer": str, "text": str, "group": str, "reason": str, "bytes": bytes, "login": str}
"""Fields that may be anything of their type."""


def forged_mail(session_id: str) -> Iterator[object]:
    """Yield our own mail with one field missing or odd."""
    yield from ODD
    genuine: list[Message] = [
        mail.sending(session_id, "forged"),
        mail.sending(session_id, b"forged"),
        mail.closing(session_id, 4000, "forged", CloseCause.ADMIN),
        mail.joining(session_id, "forged"),
        mail.leaving(session_id, "forged"),
        mail.fanning_out("everybody", "forged"),
        mail.fanning_out("everybody", b"forged"),
        mail.ending_login("forged"),
    ]
    for letter in genuine:
        for field in letter:
            yield {name: value for name, value in letter.items() if name != field}
            fits = ANY_OF.get(field, ())
            yield from (letter | {field: odd} for odd in ODD if not isinstance(odd, fits))


def unencodable_mail(session_id: str) -> list[Message]:
    """Return mail with text that can't be encoded: only a layer in memory takes it along."""
    return [
        mail.sending(session_id, "") | {"text": "\ud800"},
        mail.fanning_out("everybody", "") | {"text": "\ud800"},
        mail.closing(session_id, 1000, "", CloseCause.ADMIN) | {"reason": "\ud800"},
    ]


@pytest.fixture(params=["in memory", "Valkey"])
async def through_valkey(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Configure a layer; the URL of the Valkey that it is on, or nothing."""
    if request.param == "in memory":
        yield ""
        return
    url: str = request.getfixturevalue("valkey_url")
    monkeypatch.setattr(layers, "RETRY_SECONDS", 0.05)
    use_layer(settings, url)
    settings.CHANNEL_LAYERS["default"]["CONFIG"]["capacity"] = 10_000
    yield url
    await stop_serving()
    await cast("RedisChannelLayer", get_channel_layer()).close_pools()


async def echoes(connection: Connection, text: str) -> bool:
    """Tell whether the next thing that comes is the echo: nothing came before."""
    connection.send(text)
    return await connection.next() == {"type": "websocket.send", "text": text}


async def is_counted(serving: Serving, dropped: int) -> bool:
    """Let the node renew its lease; tell whether its row says how much it dropped."""
    await serving.node.lease.beat()
    await serving.node._beat()
    return (await Node.objects.aget(pk=serving.node.id)).mail_dropped == dropped


async def test_forged_messages_are_dropped_and_counted_and_touch_nobody(
    serve: Serve, through_valkey: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving = await serve(echo={"handler": "handlers.echo", "messages_per_second": 0})
    layer = get_channel_layer()
    assert layer is not None
    connection = Connection("echo")
    await connection.connect()
    (session,) = serving.node.peers
    serving.node.peers.join(session, "everybody")
    await aeventually(lambda: serving.node.layer.channel)
    letters = [*forged_mail(session.id)]
    if not through_valkey:
        letters += unencodable_mail(session.id)
    forged = [*FOREIGN, *({"type": MAIL, "mail": letter} for letter in letters)]
    for message in forged:
        await layer.send(serving.node.layer.channel, message)
        await layer.group_send(GROUP, message)
    await aeventually(lambda: serving.node.layer.dropped == 2 * len(forged), timeout=20)
    assert await echoes(connection, "unmoved")
    assert await is_counted(serving, 2 * len(forged))
    genuine = {"type": MAIL, "mail": mail.sending(session.id, "genuine")}
    await layer.send(serving.node.layer.channel, genuine)
    assert (await connection.next())["text"] == "genuine"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert "forged" not in caplog.text
    assert "\x1b" not in caplog.text
    connection.leave()
    await connection.ended()


async def test_forged_numbers_and_senders_keep_no_node_from_renewing_its_lease(
    serve: Serve, through_valkey: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    layer = get_channel_layer()
    assert layer is not None
    await aeventually(lambda: serving.node.layer.channel)
    nothing = mail.fanning_out("nobody", "x")
    senders = ["\x1b[31m\nforged", "", None, 3, serving.node.id]
    numbers = [1, 2**63 - 1, -(2**63), 0, None, 1.5, "1"]
    for sender in senders:
        for number in numbers:
            letter = {"mail": nothing, "but": sender, "from": sender, "number": number}
            await layer.send(serving.node.layer.channel, {"type": MAIL, **letter})
    await layer.send(serving.node.layer.channel, {"type": "the last"})
    # Of each sender that may be a node's three numbers can't be true; and the last one.
    await aeventually(lambda: serving.node.layer.dropped == 2 * 3 + 1)
    before = (await Node.objects.aget(pk=serving.node.id)).beat
    assert await is_counted(serving, 7)
    assert await is_counted(serving, 7)  # also when what was missing is taken for lost
    row = await Node.objects.aget(pk=serving.node.id)
    assert row.beat >= before + 4
    assert row.mail_lost == 0
    assert "\x1b" not in caplog.text


JUNK: list[bytes] = [
    b"",
    b"junk",
    b"\xc1" * 40,
    b"\x91" * 5000,  # lists in lists
    *(
        msgpack.packb(value)
        for value in (
            7,
            None,
            "__asgi_channel__",
            [1, 2, 3],
            {},
            {"__asgi_channel__": {}},
            {"type": NUDGE, "__asgi_channel__": "somebody!else"},
            {"type": NUDGE, "__asgi_channel__": [f"somebody!{number}" for number in range(1000)]},
        )
    ),
    *(f"more junk {number}".encode() for number in range(20)),
]


@pytest.mark.parametrize(
    ("backend", "keys"),
    [(CORE, []), (CORE, ["key"]), (PUBSUB, []), (PUBSUB, ["key"])],
    ids=["core", "core, encrypted", "pub/sub", "pub/sub, encrypted"],
)
async def test_an_entry_that_is_no_message_is_dropped_and_counted_and_delays_nothing(
    serve: Serve,
    settings: Settings,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    keys: list[str],
) -> None:
    monkeypatch.setattr(layers, "RETRY_SECONDS", 3600.0)  # a node that fails once stays deaf
    prefix = use_layer(settings, valkey_url, backend)
    settings.CHANNEL_LAYERS["default"]["CONFIG"]["symmetric_encryption_keys"] = keys
    serving = await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")
    await connection.connect()
    (session,) = serving.node.peers
    await aeventually(lambda: serving.node.layer.channel)
    channel = serving.node.layer.channel
    with redis.Redis.from_url(valkey_url) as client:
        for number, junk in enumerate(JUNK):
            if backend == PUBSUB:
                client.publish(channel, junk)
            else:  # which takes 12 bytes for a random prefix, and drops what is old
                key = prefix + channel.partition("!")[0] + "!"
                client.zadd(key, {f"{number:012d}".encode() + junk: time.time()})
    layer = cast("RedisChannelLayer", get_channel_layer())
    genuine = {"type": MAIL, "mail": mail.sending(session.id, "genuine")}
    await layer.send(channel, genuine)
    assert (await connection.next())["text"] == "genuine"
    assert await is_counted(serving, len(JUNK))
    assert serving.node.layer.channel == channel
    assert not serving.node.layer.trouble
    if backend == CORE:  # nothing piles up for channels that nobody reads
        buffers = cast("RedisChannelLayer", serving.node.layer._layer).receive_buffer
        assert set(buffers) <= {channel}
    connection.leave()
    await connection.ended()
    await stop_serving()
    await channel_layer.close(layer)
