"""From a row to an open socket: what goes over the wire, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from pytest_django import Settings
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.infrastructure.waiting import aeventually
from tests.outbound.certificates import Certificates
from tests.outbound.conftest import MakeHandler, MakePeer
from websockets_app.models import Client
from websockets_app.outbound.config import ClientConfig, prepare
from websockets_app.outbound.dialling import Dialler
from websockets_app.outbound.outcomes import outcome_of_failure


@pytest.fixture
async def dialler() -> AsyncIterator[Dialler]:
    made = Dialler(asyncio.get_running_loop())
    yield made
    made.stop()


def config_of(uri: str, make_handler: MakeHandler, **fields: Any) -> ClientConfig:
    return prepare(Client(pk=1, name="client", uri=uri, handler=make_handler(), **fields))


async def stay(socket: ServerConnection) -> None:
    await socket.wait_closed()


async def failure(dialler: Dialler, config: ClientConfig) -> Any:
    """Return the outcome of an attempt that must fail."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is what outcomes are about
        await dialler.dial(config)
    return outcome_of_failure(raised.value, config)  # type: ignore[arg-type]


async def test_the_handshake_says_what_the_row_says(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[Request] = []

    async def note(socket: ServerConnection) -> None:
        assert socket.request is not None
        requests.append(socket.request)
        await socket.wait_closed()

    monkeypatch.setenv("FEED_TOKEN", "tok&en")
    uri = await make_peer(note, subprotocols=["v2", "v1"])
    config = config_of(
        f"{uri}path?token=env:FEED_TOKEN",
        make_handler,
        headers={"Authorization": "Bearer env:FEED_TOKEN", "X-Other": "1"},
        subprotocols=["v1", "v2"],
        origin="https://example.com",
    )
    socket = await dialler.dial(config)
    await aeventually(lambda: requests)
    (request,) = requests
    assert request.path == "/path?token=tok%26en"
    assert request.headers["Authorization"] == "Bearer tok&en"
    assert request.headers["X-Other"] == "1"
    assert request.headers["Origin"] == "https://example.com"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert socket.subprotocol == "v2"
    await socket.close()


async def test_compression_is_offered_where_the_row_asks_for_it(
    dialler: Dialler, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    socket = await dialler.dial(config_of(await make_peer(stay), make_handler, compression=True))
    assert socket.protocol.extensions
    await socket.close()


@pytest.mark.parametrize("location", ["/elsewhere", "ws://169.254.169.254/?key=secret"])
async def test_a_redirect_is_not_followed_but_told(
    dialler: Dialler, make_handler: MakeHandler, make_peer: MakePeer, location: str
) -> None:
    asked = 0

    def redirect(connection: ServerConnection, request: Request) -> Response:
        nonlocal asked
        asked += 1
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = location
        return response

    uri = await make_peer(stay, process_request=redirect)
    outcome = await failure(dialler, config_of(uri, make_handler))
    assert outcome.reason.startswith("HTTP 302 Found: redirected to ")
    assert "secret" not in outcome.reason
    assert asked == 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("20", 20, 20),
        ("soon", None, None),
        (datetime.timedelta(hours=1), 3500, 3600),
    ],
)
async def test_retry_after_is_a_number_or_a_date(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    value: Any,
    least: float | None,
    most: float | None,
) -> None:
    def busy(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
        response.headers["Retry-After"] = value if isinstance(value, str) else http_date(value)
        return response

    uri = await make_peer(stay, process_request=busy)
    outcome = await failure(dialler, config_of(uri, make_handler))
    assert (outcome.status, outcome.hopeless) == (503, False)
    if least is None or most is None:
        assert outcome.retry_after is None
    else:
        assert least <= outcome.retry_after <= most


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"uri": "http://127.0.0.1/"}, "The URI isn't valid: scheme isn't ws or wss"),
        ({"uri": "ws://me:pa/ss@127.0.0.1/"}, "The URI isn't valid"),
        ({"uri": "ws://10.0.0.1/"}, "ALLOWED_CLIENT_HOSTS"),
        ({"uri": "ws://127.0.0.1/?a=env:NOT_THERE"}, "env:NOT_THERE"),
        ({"headers": {"X": "a\r\nHost: b"}}, "holds a character"),
        ({"headers": {"Authorization: Bearer pa/ss": ""}}, "holds a character"),
        ({"origin": "https://pa/ss\r\nHost: b"}, "origin holds a character"),
        ({"proxy": "ftp://127.0.0.1"}, "The proxy isn't valid: scheme ftp isn't supported"),
        ({"proxy": "http://10.0.0.1:3128"}, "ALLOWED_CLIENT_PROXIES"),
        ({"subprotocols": ["pa/ss"]}, "subprotocol"),
        ({"uri": f"ws://{'x' * 70}.example/"}, "isn't a valid name"),
    ],
)
async def test_what_can_never_connect_is_hopeless(
    dialler: Dialler, make_handler: MakeHandler, fields: dict[str, Any], reason: str
) -> None:
    uri = fields.pop("uri", "ws://127.0.0.1:9/")
    outcome = await failure(dialler, config_of(uri, make_handler, **fields))
    assert outcome.hopeless
    assert reason in outcome.reason
    assert "pa/ss" not in outcome.reason


async def test_a_socks_proxy_needs_a_library(
    dialler: Dialler, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def as_where_it_is_not_installed(*args: Any, **options: Any) -> None:
        raise ImportError("connecting through a SOCKS proxy requires python-socks")

    monkeypatch.setattr(
        "websockets.asyncio.client.connect_socks_proxy", as_where_it_is_not_installed
    )
    config = config_of("ws://127.0.0.1:9/", make_handler, proxy="socks5://127.0.0.1:1080")
    outcome = await failure(dialler, config)
    assert outcome.hopeless
    assert "python-socks" in outcome.reason


async def test_a_name_is_resolved_and_its_address_dialled(
    dialler: Dialler, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    hosts: list[str] = []

    async def note(socket: ServerConnection) -> None:
        assert socket.request is not None
        hosts.append(socket.request.headers["Host"])

    uri = (await make_peer(note)).replace("127.0.0.1", "localhost")
    socket = await dialler.dial(config_of(uri, make_handler))
    await aeventually(lambda: hosts)
    assert hosts[0].startswith("localhost:")
    await socket.close()


async def test_a_name_that_leads_inside_is_refused_whatever_it_is_called(
    make_handler: MakeHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "ALLOWED_CLIENT_HOSTS": []}
    dialler = Dialler(asyncio.get_running_loop())
    outcome = await failure(dialler, config_of("ws://localhost:9/", make_handler))
    assert outcome.hopeless
    assert outcome.reason.startswith("localhost isn't public")
    assert "127.0.0.1" not in outcome.reason
    dialler.stop()


async def test_a_server_that_says_nothing_is_given_up_after_the_open_timeout(
    dialler: Dialler, make_handler: MakeHandler
) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = config_of(f"ws://127.0.0.1:{port}/", make_handler, open_timeout=0.1)
    assert (await failure(dialler, config)).reason == "no handshake within 0.1 s"
    gone.set()
    server.close()
    await server.wait_closed()


async def test_only_a_few_handshakes_run_at_once_towards_one_host(
    make_handler: MakeHandler, make_peer: MakePeer, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HANDSHAKES_PER_HOST": 2}
    dialler = Dialler(asyncio.get_running_loop())
    arrived = 0
    let_in = asyncio.Event()

    async def wait(connection: ServerConnection, request: Request) -> None:
        nonlocal arrived
        arrived += 1
        await let_in.wait()

    config = config_of(await make_peer(stay, process_request=wait), make_handler)
    async with asyncio.TaskGroup() as group:
        dials = [group.create_task(dialler.dial(config)) for _ in range(5)]
        await aeventually(lambda: arrived == 2)
        await asyncio.sleep(0)
        assert arrived == 2
        let_in.set()
    assert arrived == 5
    for dial in dials:
        await dial.result().close()
    dialler.stop()


async def test_tls_trusts_the_rows_certificates_and_only_those(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    certificates: Certificates,
) -> None:
    uri = await make_peer(stay, ssl=certificates.server_context())
    socket = await dialler.dial(
        config_of(uri, make_handler, ca_certificates=certificates.authority.read_text())
    )
    await socket.close()
    outcome = await failure(dialler, config_of(uri, make_handler))
    assert outcome.hopeless
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.reason
    unverified = await dialler.dial(config_of(uri, make_handler, verify_tls=False))
    await unverified.close()


async def test_a_certificate_for_another_name_is_refused(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    certificates: Certificates,
) -> None:
    uri = (await make_peer(stay, ssl=certificates.server_context())).replace(
        "127.0.0.1", "localhost"
    )
    outcome = await failure(
        dialler,
        config_of(uri, make_handler, ca_certificates=certificates.authority.read_text()),
    )
    assert outcome.hopeless
    assert "the certificate is for another host" in outcome.reason


def test_certificates_that_cannot_be_read_are_a_problem_of_the_row(
    make_handler: MakeHandler,
) -> None:
    config = config_of("wss://example.com/", make_handler, ca_certificates="no PEM")
    assert "can't be read as PEM" in config.problem


@pytest.mark.parametrize("fields", [{"headers": ["X"]}, {"subprotocols": "v1"}])
def test_values_that_no_form_has_seen_are_a_problem_of_the_row(
    make_handler: MakeHandler, fields: dict[str, Any]
) -> None:
    assert config_of("ws://example.com/", make_handler, **fields).problem


async def test_a_rows_proxy_is_used_and_no_other(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("FEED_PROXY_PASSWORD", "p@ss")
    uri = await make_peer(stay)
    direct = await dialler.dial(config_of(uri, make_handler))
    await direct.close()
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", int(uri[:-1].split(":")[2])
        )
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # The name is the proxy's to resolve, and the proxy's address is the one that is checked.
    config = config_of(
        "ws://nowhere.invalid/",
        make_handler,
        proxy=f"http://me:env:FEED_PROXY_PASSWORD@localhost:{port}",
    )
    socket = await dialler.dial(config)
    assert asked[0].startswith(b"CONNECT nowhere.invalid:80 ")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in asked[0]
    await socket.close()
    server.close()
    await server.wait_closed()


def http_date(hence: datetime.timedelta) -> str:
    moment = datetime.datetime.now(datetime.UTC) + hence
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def test_the_library_never_logs_headers_and_messages(caplog: pytest.LogCaptureFixture) -> None:
    from websockets_app.outbound.dialling import _Discreet

    logger = _Discreet(logging.getLogger("websockets_app.outbound.dialling.socket"), {})
    caplog.set_level(logging.DEBUG, logger="websockets_app.outbound.dialling.socket")
    assert not logger.isEnabledFor(logging.DEBUG)
    assert logger.isEnabledFor(logging.INFO)


# Reasons hold no secret


@pytest.mark.parametrize(
    ("uri", "value"),
    [
        ("ws://env:FEED_VALUE/", "10.9.8.7"),
        ("ws://env:FEED_VALUE/", "10.9.8.7:6543"),
        ("ws://env:FEED_VALUE/", "s3cret.invalid"),
        ("ws://env:FEED_VALUE/", "s3cret:pass"),
        ("ws://env:FEED_VALUE/", f"s3cret{'x' * 70}"),
        ("ws://127.0.0.1:env:FEED_VALUE/", "s3cret"),
        ("ws://[::1%env:FEED_VALUE]/", "s3cret"),
        ("ws://[env:FEED_VALUE]/", "s3cret"),
    ],
)
async def test_a_reason_does_not_tell_what_a_variable_holds(
    dialler: Dialler,
    make_handler: MakeHandler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    uri: str,
    value: str,
) -> None:
    monkeypatch.setenv("FEED_VALUE", value)
    caplog.set_level(logging.INFO)
    outcome = await failure(dialler, config_of(uri, make_handler))
    assert outcome.reason
    for text in (outcome.reason, caplog.text):
        assert "s3cret" not in text
        assert value.partition(":")[0] not in text


async def test_a_reason_does_not_tell_the_address_of_an_allowed_name(
    dialler: Dialler, make_handler: MakeHandler
) -> None:
    outcome = await failure(dialler, config_of("ws://localhost:9/", make_handler))
    assert outcome.reason == "Connection refused"


async def test_a_certificate_for_another_host_does_not_tell_what_a_variable_holds(
    dialler: Dialler,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEED_HOST", "localhost")
    uri = (await make_peer(stay, ssl=certificates.server_context())).replace(
        "127.0.0.1", "env:FEED_HOST"
    )
    authority = certificates.authority.read_text()
    outcome = await failure(dialler, config_of(uri, make_handler, ca_certificates=authority))
    assert outcome.hopeless
    assert "localhost" not in outcome.reason


# Behind a proxy


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that notes what it is asked for, and refuses."""
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "authority",
    [
        "169.254.169.254", "169.254.169.254:80", "[fd00:ec2::254]", "[::ffff:169.254.169.254]",
        "2852039166", "169.254.169.254.", "169.254.169%2e254", "１６９.254.169.254",
        "metadata.google.internal", "10.0.0.1", "me:pass@169.254.169.254",
    ],
)  # fmt: skip
async def test_an_allowed_proxy_leads_to_no_private_or_metadata_address(
    dialler: Dialler,
    make_handler: MakeHandler,
    proxy: tuple[str, list[bytes]],
    authority: str,
) -> None:
    through, asked = proxy
    config = config_of(f"ws://{authority}/latest/", make_handler, proxy=through)
    outcome = await failure(dialler, config)
    assert outcome.hopeless
    assert "WEBSOCKETS['ALLOWED_CLIENT_HOSTS']" in outcome.reason
    assert not asked


async def test_a_name_that_resolves_to_a_private_address_is_refused_behind_a_proxy_too(
    make_handler: MakeHandler, proxy: tuple[str, list[bytes]], settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "ALLOWED_CLIENT_HOSTS": []}
    dialler = Dialler(asyncio.get_running_loop())
    outcome = await failure(dialler, config_of("ws://localhost/", make_handler, proxy=proxy[0]))
    assert outcome.reason.startswith("localhost isn't public")
    assert not proxy[1]
    dialler.stop()


async def test_a_public_host_is_reached_through_a_proxy(
    dialler: Dialler, make_handler: MakeHandler, proxy: tuple[str, list[bytes]]
) -> None:
    outcome = await failure(dialler, config_of("ws://8.8.8.8/", make_handler, proxy=proxy[0]))
    assert outcome.reason == "the proxy answered HTTP 403"
    assert proxy[1] == [b"CONNECT 8.8.8.8:80 HTTP/1.1\r\n"]


async def test_a_host_that_clients_may_dial_is_not_thereby_an_allowed_proxy(
    make_handler: MakeHandler, proxy: tuple[str, list[bytes]], settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "ALLOWED_CLIENT_PROXIES": []}
    dialler = Dialler(asyncio.get_running_loop())
    outcome = await failure(dialler, config_of("ws://8.8.8.8/", make_handler, proxy=proxy[0]))
    assert outcome.hopeless
    assert "WEBSOCKETS['ALLOWED_CLIENT_PROXIES']" in outcome.reason
    assert not proxy[1]
    dialler.stop()


async def test_a_name_server_that_says_nothing_leaves_the_proxy_half_of_the_time(
    dialler: Dialler,
    make_handler: MakeHandler,
    proxy: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def say_nothing(host: str, port: int) -> list[str]:
        if host == "127.0.0.1":
            return [host]
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(dialler, "_resolve", say_nothing)
    config = config_of("ws://slow.example/", make_handler, proxy=proxy[0], open_timeout=2)
    assert (await failure(dialler, config)).reason == "the proxy answered HTTP 403"
