"""Peers that connect, are refused or make the handler raise as fast as they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from websockets_app.inbound import admission, connection_rates
from websockets_app.inbound.connection_rates import ConnectionRates
from websockets_app.inbound.serving import Serving, stop_serving
from websockets_app.models import Endpoint, Event, Minute
from websockets_app.recording.repeats import FIRST

Serve = Callable[..., Any]

MANY = 30
ONE = {"connections_per_minute": 1, "connection_burst": 1}
RAISES = "def on_message(message):\n    raise ValueError(message)\n"


def visitor(path: str = "echo", address: str = "192.0.2.7") -> Connection:
    connection = Connection(path, extensions=["websocket.http.response"])
    connection.scope["client"] = (address, 1234)
    return connection


async def status(*arguments: Any, **options: Any) -> int:
    """Connect, and disconnect at once if the handshake is accepted."""
    connection = visitor(*arguments, **options)
    found = await connection.status()
    if found == 101:
        connection.leave()
    await connection.ended()
    return found


async def told(serving: Serving, kind: str) -> list[Event]:
    """Return the events of a kind as if the minute was over."""
    serving.node.recorder.tell_repeats()
    assert await serving.node.recorder.flush()
    return [event async for event in Event.objects.filter(kind=kind).order_by("pk")]


# Repeats


async def test_refusals_of_one_address_are_one_event_after_the_first_few(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serving = await serve(private={"handler": "handlers.echo", "access": "authenticated"})
    for _ in range(MANY):
        assert await status("private") == 403
    assert await status("private", address="192.0.2.8") == 403
    *single, repeated = await told(serving, "refused")
    assert [event.repeats for event in single] == [None] * (FIRST + 1)
    assert repeated.repeats == MANY - FIRST
    assert (repeated.name, repeated.code, repeated.detail) == (
        single[0].name, single[0].code, single[0].detail
    )  # fmt: skip
    assert repeated.first_at is not None
    assert single[FIRST - 1].at <= repeated.first_at <= repeated.at
    assert (await Minute.objects.aget()).refused == MANY + 1
    assert caplog.text.count("Refused ") == FIRST + 1
    assert f"{MANY - FIRST} more like this" in caplog.text


async def test_unknown_paths_are_counted_together_whatever_they_are(serve: Serve) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    for number in range(MANY):
        assert await status(f"unknown/{number}") == 404
    *single, repeated = await told(serving, "refused")
    assert [event.name.rpartition("/")[2] for event in single] == [str(n) for n in range(FIRST)]
    assert (repeated.name, repeated.repeats) == ("", MANY - FIRST)


async def test_a_handler_that_raises_for_each_message_is_one_event_after_the_first_few(
    serve: Serve, write_handler: WriteHandler, caplog: pytest.LogCaptureFixture
) -> None:
    serving = await serve(raises={"handler": write_handler("raises", RAISES)})
    connection = visitor("raises")
    assert await connection.status() == 101
    for number in range(MANY):
        connection.send(str(number))
    connection.leave()
    await connection.ended()
    *single, repeated = await told(serving, "error")
    assert [event.repeats for event in single] == [None] * FIRST
    assert repeated.repeats == MANY - FIRST
    assert f"ValueError: {FIRST}\n\nTraceback" in repeated.detail
    assert (await Minute.objects.aget()).errors == MANY
    assert caplog.text.count("Traceback") == FIRST
    session = Event.objects.exclude(peer="").order_by("seq")
    numbers = [number async for number in session.values_list("seq", flat=True)]
    assert numbers == list(range(1, FIRST + 3))  # with open and close, and without a hole


async def test_repeats_are_recorded_when_the_node_stops(serve: Serve) -> None:
    await serve()
    for _ in range(FIRST + 2):
        await status("unknown")
    await stop_serving()
    assert [event.repeats async for event in Event.objects.filter(repeats__gt=0)] == [2]


# The rate of connections


async def test_an_address_that_connects_too_often_is_refused_before_anything_is_looked_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"connections_per_minute": 1, "connection_burst": 2}
    serving = await serve(echo={"handler": "handlers.echo", **slow})
    assert [await status() for _ in range(2)] == [101, 101]
    monkeypatch.setattr("websockets_app.inbound.consumers.admit", None)
    assert await status() == 429
    monkeypatch.setattr("websockets_app.inbound.consumers.admit", admission.admit)
    assert await status(address="192.0.2.8") == 101
    (event,) = await told(serving, "refused")
    assert (event.code, event.cause) == (4429, "rate")
    assert "1 connections a minute, 2 at once" in event.detail


async def test_an_ipv6_network_is_one_address_and_another_is_another(serve: Serve) -> None:
    await serve(echo={"handler": "handlers.echo", **ONE})
    assert await status(address="2001:db8::1") == 101
    assert await status(address="2001:db8::2") == 429
    assert await status(address="2001:db8:0:1::1") == 101


async def test_zero_switches_the_rate_off(serve: Serve) -> None:
    off = {"connections_per_minute": 0, "connection_burst": 1}
    await serve(echo={"handler": "handlers.echo", **off})
    assert {await status() for _ in range(5)} == {101}


async def test_a_local_proxy_that_is_not_trusted_is_not_limited_and_one_that_is_is(
    serve: Serve, settings: Settings
) -> None:
    await serve(echo={"handler": "handlers.echo", **ONE})
    assert {await status(address="127.0.0.1") for _ in range(5)} == {101}
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "TRUSTED_PROXIES": ["127.0.0.1"]}

    async def forwarded(address: str) -> int:
        connection = visitor(address="127.0.0.1")
        connection.scope["headers"].append((b"x-forwarded-for", address.encode()))
        found = await connection.status()
        connection.leave()
        await connection.ended()
        return found

    assert [await forwarded("192.0.2.1"), await forwarded("192.0.2.1")] == [101, 429]
    assert await forwarded("192.0.2.2") == 101


async def test_unknown_paths_have_a_rate_of_their_own(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = connection_rates._UNKNOWN_PATHS._replace(per_minute=1, burst=2)
    monkeypatch.setattr(connection_rates, "_UNKNOWN_PATHS", few)
    await serve(echo={"handler": "handlers.echo"})
    assert [await status(f"unknown/{number}") for number in range(3)] == [404, 404, 429]
    assert await status() == 101


async def test_a_changed_row_counts_anew(serve: Serve) -> None:
    serving = await serve(echo={"handler": "handlers.echo", **ONE})
    assert [await status(), await status()] == [101, 429]
    await Endpoint.objects.aupdate(connection_burst=2)
    await serving.node.look()
    assert await status() == 101


def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_rates, "MAX_BUCKETS", 100)
    rates = ConnectionRates()
    for number in range(1000):
        assert rates.refusal(None, f"2001:db8:0:{number:x}::/64") is None
    assert len(rates._buckets) == 100


def test_addresses_that_were_quiet_for_long_enough_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("websockets_app.inbound.connection_rates.time.monotonic", lambda: now)
    rates = ConnectionRates()
    rates.refusal(None, "192.0.2.1")
    now += 1
    rates.refusal(None, "192.0.2.2")
    rates.forget(now)
    assert [address for _, address in rates._buckets] == ["192.0.2.2"]
