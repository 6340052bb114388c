"""Endpoints on a real Daphne, with a client that isn't ours."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

Endpoints = Callable[..., None]

SLOW = """
import asyncio, time

async def on_message(message):
    await asyncio.sleep(float(message))
    return f"slept {message}"
"""

TRACE = """
import asyncio, pathlib

LOG = pathlib.Path(__file__).with_name("trace.log")

def note(text):
    with LOG.open("a") as log:
        log.write(text + "\\n")

async def on_open():
    note("open")

async def on_message(message):
    note(f"begin {message}")
    await asyncio.sleep(float(message))
    note(f"end {message}")

async def on_close(code):
    note(f"close {code}")
"""


def trace(site: Site) -> list[str]:
    log = site.directory / "site_handlers" / "trace.log"
    return log.read_text().split("\n")[:-1] if log.exists() else []


async def close_code_of(websocket: ClientConnection) -> int:
    """Wait for the end, past whatever still comes before it."""
    async with asyncio.timeout(10 * SCALE):
        with contextlib.suppress(ConnectionClosedError):
            async for _ in websocket:
                pass
        await websocket.wait_closed()
    assert websocket.close_code is not None
    return websocket.close_code


async def test_text_and_binary_come_back_and_the_session_has_a_row(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    async with connect(server.ws("echo")) as websocket:
        await websocket.send("hello ☃")
        assert await websocket.recv() == "hello ☃"
        await websocket.send(b"\x00\xff")
        assert await websocket.recv() == b"\x00\xff"
        for empty in ("", b""):
            await websocket.send(empty)
            assert await websocket.recv() == empty
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (1000, "peer")
    assert (row["messages_in"], row["messages_out"], row["bytes_in"]) == (4, 4, 11)
    events = site.rows("SELECT kind FROM websockets_app_event WHERE peer != '' ORDER BY id")
    assert [event["kind"] for event in events] == ["open", "close"]


async def test_a_slow_handler_delays_only_its_own_session(
    site: Site, endpoints: Endpoints
) -> None:
    blocking = site.write_handler(
        "blocking", "import time\ndef on_message(message):\n    time.sleep(3)\n    return message"
    )
    endpoints(
        site,
        slow={"handler": site.write_handler("slow", SLOW)},
        blocking={"handler": blocking},
        echo={"handler": "handlers.echo"},
    )
    server = site.start_daphne()
    async with (
        connect(server.ws("slow")) as slow,
        connect(server.ws("blocking")) as blocked,
        connect(server.ws("echo")) as echo,
    ):
        await slow.send("3")
        await blocked.send("x")
        begun = time.monotonic()
        for number in range(50):
            await echo.send(str(number))
            assert await echo.recv() == str(number)
        assert time.monotonic() - begun < 1.5 * SCALE
        assert await slow.recv() == "slept 3"
        assert await blocked.recv() == "x"


async def test_slow_plain_handlers_of_one_endpoint_leave_threads_to_the_others(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site(settings="WEBSOCKETS['SHUTDOWN_TIMEOUT'] = 0.5")
    sleeps = "import time\nfrom asgiref.sync import sync_to_async\n"
    sleeps += "{form} on_message(message):\n    {sleep}\n    return message\n"
    hangs = sleeps.format(form="def", sleep="time.sleep(60)")
    hangs_in_orm = sleeps.format(form="async def", sleep="await sync_to_async(time.sleep)(60)")
    asks = sleeps.format(form="async def", sleep="await sync_to_async(time.sleep)(0)")
    endpoints(
        site,
        hangs={"handler": site.write_handler("hangs", hangs)},
        hangs_in_orm={"handler": site.write_handler("hangs_in_orm", hangs_in_orm)},
        plain={"handler": site.write_handler("plain", sleeps.format(form="def", sleep="pass"))},
        asks={"handler": site.write_handler("asks", asks)},
    )
    server = site.start_uvicorn()
    async with AsyncExitStack() as stack:
        for path in ("hangs", "hangs_in_orm"):
            for _ in range(40):  # more than there are threads
                peer = await stack.enter_async_context(connect(server.ws(path)))
                await peer.send("x")
        for path in ("plain", "asks"):
            async with connect(server.ws(path)) as other, asyncio.timeout(5 * SCALE):
                await other.send("at once")
                assert await other.recv() == "at once"


async def test_messages_sent_while_the_handler_is_busy_are_handled_in_order(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, slow={"handler": site.write_handler("slow", SLOW)})
    server = site.start_daphne()
    async with connect(server.ws("slow")) as websocket:
        waits = ["0.3", "0", "0.2", "0.01", "0"]
        for wait in waits:
            await websocket.send(wait)
        assert [await websocket.recv() for _ in waits] == [f"slept {wait}" for wait in waits]


async def test_a_peer_that_leaves_during_a_long_handler_is_noticed_at_once(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, trace={"handler": site.write_handler("trace", TRACE)})
    server = site.start_daphne()
    websocket = await connect(server.ws("trace"))
    await websocket.send("12")
    await aeventually(lambda: trace(site) == ["open", "begin 12"])
    await websocket.close()
    left = time.monotonic()
    await aeventually(
        lambda: site.rows(
            "SELECT 1 FROM websockets_app_session WHERE close_cause = 'peer' AND close_code = 1000"
        )
    )
    # 0.1 s to notice, 0.25 s for the recorder's batch.
    assert time.monotonic() - left < 1.0 * SCALE
    # Daphne cancels the application after ten seconds; the callback runs on to its end all the
    # same, and then on_close.
    await aeventually(lambda: trace(site)[2:] == ["end 12", "close 1000"], timeout=20)


async def test_what_a_peer_sent_before_it_left_is_still_handled(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, trace={"handler": site.write_handler("trace", TRACE)})
    server = site.start_daphne()
    websocket = await connect(server.ws("trace"))
    for wait in ("0.3", "0", "0.1"):
        await websocket.send(wait)
    await websocket.close()
    await aeventually(lambda: "close 1000" in trace(site))
    assert trace(site) == [
        "open", "begin 0.3", "end 0.3", "begin 0", "end 0", "begin 0.1", "end 0.1", "close 1000",
    ]  # fmt: skip


async def test_asyncio_timeout_and_task_groups_work_inside_handlers(
    site: Site, endpoints: Endpoints
) -> None:
    reference = site.write_handler(
        "structured",
        """
        import asyncio

        async def on_message(message):
            if message == "group":
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(asyncio.sleep(0.1, n)) for n in range(3)]
                return [task.result() for task in tasks]
            try:
                async with asyncio.timeout(0.2):
                    await asyncio.sleep(30)
            except TimeoutError:
                return "timed out"
        """,
    )
    endpoints(site, structured={"handler": reference})
    server = site.start_daphne()
    async with connect(server.ws("structured")) as websocket:
        await websocket.send("group")
        assert await websocket.recv() == "[0,1,2]"
        await websocket.send("timeout")
        assert await websocket.recv() == "timed out"
        await websocket.send("group")
        assert await websocket.recv() == "[0,1,2]"


async def test_a_handler_that_raises_in_each_callback_is_recorded_and_stays_open(
    site: Site, endpoints: Endpoints
) -> None:
    reference = site.write_handler(
        "raising",
        """
        def on_open():
            raise ValueError("in open")

        async def on_message(message):
            raise KeyError(message)

        def on_error(error):
            raise RuntimeError("in error: " + error)

        def on_close():
            raise OSError("in close")
        """,
    )
    endpoints(site, raising={"handler": reference})
    server = site.start_daphne()
    async with connect(server.ws("raising")) as websocket:
        await websocket.send("one")
        await websocket.send("two")
        await aeventually(
            lambda: len(site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'error'")) == 6
        )
    await aeventually(
        lambda: len(site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'error'")) == 8
    )
    details = [
        row["detail"].split("\n")[0]
        for row in site.rows(
            "SELECT detail FROM websockets_app_event WHERE kind = 'error' ORDER BY seq"
        )
    ]
    assert details == [
        "on_open: ValueError: in open",
        "on_error: RuntimeError: in error: ValueError: in open",
        "on_message: KeyError: 'one'",
        "on_error: RuntimeError: in error: KeyError: 'one'",
        "on_message: KeyError: 'two'",
        "on_error: RuntimeError: in error: KeyError: 'two'",
        "on_close: OSError: in close",
        "on_error: RuntimeError: in error: OSError: in close",
    ]
    assert "Traceback" in server.output
    assert len(site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'close'")) == 1


async def test_a_row_can_close_on_a_handler_error(site: Site, endpoints: Endpoints) -> None:
    reference = site.write_handler("fails", "def on_message(message):\n    return 1 / 0")
    endpoints(site, fails={"handler": reference, "on_handler_error": "close"})
    server = site.start_daphne()
    async with connect(server.ws("fails")) as websocket:
        await websocket.send("x")
        assert await close_code_of(websocket) == 4011  # Daphne sends no 1011
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_code_sent"]) == (1011, 4011)
    assert row["close_cause"] == "handler_error"


@pytest.mark.parametrize("size", [1024 * 1024, 1024 * 1024 + 1, 2 * 1024 * 1024])
async def test_a_message_above_the_rows_limit_closes_with_1009(
    site: Site, endpoints: Endpoints, size: int
) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    async with connect(server.ws("echo"), max_size=None) as websocket:
        await websocket.send(b"x" * size)
        if size <= 1024 * 1024:
            assert len(await websocket.recv()) == size
            return
        assert await close_code_of(websocket) == 4009
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (1009, "too_big")
    assert str(size) in row["close_reason"]


async def test_an_inbox_that_overflows_closes_with_1013(site: Site, endpoints: Endpoints) -> None:
    slow = site.write_handler("slow", SLOW)
    endpoints(site, slow={"handler": slow, "inbox_messages": 5})
    server = site.start_daphne()
    async with connect(server.ws("slow")) as websocket:
        for _ in range(20):
            await websocket.send("1")
        assert await close_code_of(websocket) == 4013
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (1013, "slow")


async def test_invalid_utf8_ends_only_that_session(site: Site, endpoints: Endpoints) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    async with connect(server.ws("echo")) as other, connect(server.ws("echo")) as websocket:
        await websocket.send(b"\xff\xfe", text=True)
        # Autobahn, beneath Daphne, drops the connection; other servers send 1007.
        assert await close_code_of(websocket) in {1006, 1007}
        await other.send("still here")
        assert await other.recv() == "still here"
    rows = await aeventually(
        lambda: site.rows(
            "SELECT * FROM websockets_app_session WHERE close_cause IN ('protocol', 'transport')"
        )
    )
    assert len(rows) == 1


async def test_a_binary_message_to_a_text_only_handler_is_a_clear_error(
    site: Site, endpoints: Endpoints
) -> None:
    reference = site.write_handler(
        "shout", "def on_message(message):\n    return message.upper() + '!'"
    )
    endpoints(site, shout={"handler": reference})
    server = site.start_daphne()
    async with connect(server.ws("shout")) as websocket:
        await websocket.send(b"abc")
        await websocket.send("abc")
        assert await websocket.recv() == "ABC!"
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_event WHERE kind = 'error'")
    )
    assert row["detail"].startswith("on_message: TypeError: ")


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("nowhere", {}, "no such endpoint"),
        ("off", {}, "no such endpoint"),
        ("staff", {"Origin": "http://127.0.0.1:{port}"}, "nobody is logged in"),
        ("private", {}, "the Origin header is missing"),
        ("echo", {"Origin": "https://evil.example"}, "https://evil.example"),
        ("missing", {}, "No module"),
        ("broken", {}, "no_such_dependency"),
        ("unknown-argument", {}, "asks for 'wrong'"),
        ("refuses", {}, "may_open answered False"),
        ("may-raise", {}, "ZeroDivisionError"),
    ],
)
async def test_who_is_refused_gets_403_and_the_operator_the_reason(
    site: Site, endpoints: Endpoints, path: str, headers: dict[str, str], reason: str
) -> None:
    site.write_handler("broken", "import no_such_dependency\ndef on_open(): pass")
    site.write_handler("unknown", "def on_open(wrong): pass")
    site.write_handler("refuses", "def may_open(user): return False\ndef on_open(): pass")
    site.write_handler("may_raise", "def may_open(): return 1 / 0\ndef on_open(): pass")
    rows: dict[str, dict[str, object]] = {
        "off": {"handler": "handlers.echo", "enabled": False},
        "staff": {"handler": "handlers.echo", "access": "staff"},
        "private": {"handler": "handlers.echo", "access": "authenticated"},
        "echo": {"handler": "handlers.echo"},
        "missing": {"handler": "site_handlers.missing"},
        "broken": {"handler": "site_handlers.broken"},
        "unknown-argument": {"handler": "site_handlers.unknown"},
        "refuses": {"handler": "site_handlers.refuses"},
        "may-raise": {"handler": "site_handlers.may_raise"},
    }
    endpoints(site, **rows)
    server = site.start_daphne()
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    with pytest.raises(InvalidStatus) as refused:
        await connect(server.ws(path), additional_headers=sent)
    assert refused.value.response.status_code == 403
    assert reason not in repr(refused.value.response)
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_event WHERE kind = 'refused'")
    )
    assert reason in row["detail"]
    assert reason in server.output
    async with connect(server.ws("echo")) as websocket:  # the others are unaffected
        await websocket.send("x")
        assert await websocket.recv() == "x"


async def echo_answers(server: Server, path: str) -> bool:
    try:
        async with connect(server.ws(path)) as websocket:
            await websocket.send("x")
            return await websocket.recv() == "x"
    except InvalidStatus:
        return False


async def test_a_row_saved_elsewhere_answers_within_a_second_in_two_processes(
    site: Site, endpoints: Endpoints
) -> None:
    first, second = site.start_daphne(), site.start_daphne()
    assert not await echo_answers(first, "new")
    assert not await echo_answers(second, "new")
    endpoints(site, new={"handler": "handlers.echo"})
    saved = time.monotonic()
    await aeventually(lambda: echo_answers(first, "new"))
    await aeventually(lambda: echo_answers(second, "new"))
    assert time.monotonic() - saved < 1.0 * SCALE


async def test_a_changed_handler_is_used_from_the_next_message_and_a_deleted_row_closes(
    site: Site, endpoints: Endpoints
) -> None:
    shout = site.write_handler("shout", "def on_message(message):\n    return message.upper()")
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    async with connect(server.ws("echo")) as websocket:
        await websocket.send("a")
        assert await websocket.recv() == "a"
        site.shell(f"Endpoint.objects.update(handler={shout!r})")

        async def shouts() -> bool:
            await websocket.send("b")
            return await websocket.recv() == "B"

        await aeventually(shouts, timeout=2, every=0.2)
        site.shell("Endpoint.objects.all().delete()")
        assert await close_code_of(websocket) == 4001
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"], row["endpoint_path"]) == (
        1001,
        "config",
        "echo",
    )
    kinds = [
        row["kind"]
        for row in site.rows("SELECT kind FROM websockets_app_event WHERE peer != '' ORDER BY id")
    ]
    assert kinds == ["open", "changed", "close"]


@pytest.mark.parametrize("talk_for", [0.0, 2.5], ids=["at once", "after a while"])
async def test_daphne_stopped_with_fifty_sessions_closes_every_row_as_shutdown(
    site: Site, endpoints: Endpoints, talk_for: float
) -> None:
    # Daphne forgets in its first second that a socket has an application: then its own shutdown
    # fails before it cancels any. Later it cancels them all. Both must end the same.
    endpoints(site, trace={"handler": site.write_handler("trace", TRACE)})
    server = site.start_daphne()
    sockets = await asyncio.gather(*(connect(server.ws("trace")) for _ in range(50)))
    until = time.monotonic() + talk_for
    await aeventually(lambda: time.monotonic() >= until)
    server.send(signal.SIGTERM)
    codes = await asyncio.gather(*(close_code_of(socket) for socket in sockets))
    assert set(codes) == {4001}
    assert await asyncio.to_thread(server.wait, 20) == 0
    rows = site.rows(
        "SELECT close_code, close_cause, count(*) AS n FROM websockets_app_session GROUP BY 1, 2"
    )
    assert rows == [{"close_code": 1001, "close_cause": "shutdown", "n": 50}]
    closes = site.rows("SELECT count(*) AS n FROM websockets_app_event WHERE kind = 'close'")
    assert closes == [{"n": 50}]
    assert trace(site).count("close 1001") == 50
    assert site.rows("SELECT state FROM websockets_app_node") == [{"state": "stopped"}]


async def test_daphne_stopped_right_after_a_connect_closes_the_row_as_shutdown(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    assert await echo_answers(server, "echo")  # the node runs
    websocket = await connect(server.ws("echo"))
    server.send(signal.SIGTERM)  # within 50 ms of the connect
    assert await close_code_of(websocket) == 4001
    await asyncio.to_thread(server.wait, 20)
    rows = site.rows("SELECT close_cause FROM websockets_app_session ORDER BY opened_at")
    assert [row["close_cause"] for row in rows] == ["peer", "shutdown"]
    assert len(site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'close'")) == 2


async def test_uvicorn_is_told_true_close_codes_reasons_and_statuses(
    site: Site, endpoints: Endpoints
) -> None:
    reference = site.write_handler(
        "leaving",
        "async def on_message(message, session):\n    await session.aclose(4321, message)",
    )
    endpoints(
        site,
        echo={"handler": "handlers.echo"},
        leaving={"handler": reference},
        fails={"handler": site.write_handler("fails", TRACE), "on_handler_error": "close"},
        broken={"handler": "site_handlers.nowhere"},
    )
    server = site.start_uvicorn()
    async with connect(server.ws("echo")) as websocket:
        for message in ("", b"", "x"):
            await websocket.send(message)
            assert await websocket.recv() == message
    async with connect(server.ws("leaving")) as websocket:
        await websocket.send("so long ☃")
        assert await close_code_of(websocket) == 4321
        assert websocket.close_reason == "so long ☃"
    async with connect(server.ws("fails")) as websocket:
        await websocket.send("no number")
        assert await close_code_of(websocket) == 1011
    for path, status in (("nowhere", 404), ("broken", 503)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.ws(path))
        assert refused.value.response.status_code == status


async def test_uvicorn_stopped_closes_every_row_as_shutdown(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, trace={"handler": site.write_handler("trace", TRACE)})
    server = site.start_uvicorn()
    sockets = await asyncio.gather(*(connect(server.ws("trace")) for _ in range(20)))
    server.send(signal.SIGTERM)
    codes = await asyncio.gather(*(close_code_of(socket) for socket in sockets))
    assert set(codes) == {1012}  # Uvicorn closes them itself, before it says so
    await asyncio.to_thread(server.wait, 20)
    rows = site.rows("SELECT close_cause, count(*) AS n FROM websockets_app_session GROUP BY 1")
    assert rows == [{"close_cause": "shutdown", "n": 20}]
    assert sum(line.startswith("close") for line in trace(site)) == 20
    assert site.rows("SELECT state FROM websockets_app_node") == [{"state": "stopped"}]


async def test_a_killed_server_is_noticed_by_the_next_and_its_sessions_closed_as_lost(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site(settings="WEBSOCKETS['NODE_TTL'] = 2; WEBSOCKETS['HEARTBEAT_INTERVAL'] = 0.5")
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    async with connect(server.ws("echo")) as websocket:
        await aeventually(
            lambda: site.rows("SELECT 1 FROM websockets_app_session WHERE closed_at IS NULL")
        )
        site.kill(server)
        assert await close_code_of(websocket) == 1006
    successor = site.start_daphne()
    assert await echo_answers(successor, "echo")
    (row,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE close_cause = 'node_lost'"),
        timeout=10,
    )
    assert row["close_code"] == 1006
    (event,) = site.rows("SELECT * FROM websockets_app_event WHERE cause = 'node_lost'")
    assert (event["kind"], event["peer"]) == ("close", row["id"])
    assert {row["state"] for row in site.rows("SELECT state FROM websockets_app_node")} == {
        "alive", "lost",
    }  # fmt: skip


async def test_messages_are_recorded_as_the_row_says(site: Site, endpoints: Endpoints) -> None:
    endpoints(
        site,
        counted={"handler": "handlers.echo"},
        rows={"handler": "handlers.echo", "record_messages": "rows"},
        payloads={"handler": "handlers.echo", "record_messages": "payloads"},
    )
    server = site.start_daphne()
    for path in ("counted", "rows", "payloads"):
        async with connect(server.ws(path)) as websocket:
            await websocket.send("ä" * 10_000)
            await websocket.recv()
    rows = await aeventually(
        lambda: (
            site.rows("SELECT * FROM websockets_app_event WHERE kind = 'message' ORDER BY id")
            if len(site.rows("SELECT 1 FROM websockets_app_event WHERE kind = 'close'")) == 3
            else None
        )
    )
    assert [(row["name"], row["outgoing"], row["size"]) for row in rows] == [
        ("rows", 0, 20_000), ("rows", 1, 20_000),
        ("payloads", 0, 20_000), ("payloads", 1, 20_000),
    ]  # fmt: skip
    assert rows[0]["payload"] == rows[0]["sha256"] == ""
    assert rows[2]["payload"] == "ä" * 8192  # 16 KiB
    assert len(rows[2]["sha256"]) == 64
    minutes = site.rows(
        "SELECT sum(messages_in) AS n, sum(opened) AS o FROM websockets_app_minute"
    )
    assert minutes == [{"n": 3, "o": 3}]


async def test_a_locked_database_keeps_nobody_from_opening_and_talking(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    assert await echo_answers(server, "echo")
    assert site.sqlite is not None
    locked = sqlite3.connect(site.sqlite, isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    for number in range(20):
        async with connect(server.ws("echo")) as socket:
            await socket.send(str(number))
            assert await socket.recv() == str(number)
    assert time.monotonic() - began < 3.0 * SCALE
    assert len(site.rows("SELECT 1 FROM websockets_app_session")) <= 1
    locked.execute("ROLLBACK")
    locked.close()
    rows = "SELECT 1 FROM websockets_app_session WHERE close_cause = 'peer'"
    await aeventually(lambda: len(site.rows(rows)) == 21, timeout=15)
    kinds = [
        row["kind"]
        for row in site.rows("SELECT kind FROM websockets_app_event WHERE peer <> '' ORDER BY id")
    ]
    assert kinds == ["open", "close"] * 21
