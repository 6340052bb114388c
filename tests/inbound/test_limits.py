"""Each limit of an endpoint's row, hit by a peer: how the session ends, and what the row says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.db import connection as database
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.infrastructure.ports import free_port
from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import CloseCause
from websockets_app.inbound import limits, neighbours, server
from websockets_app.inbound.rates import Account
from websockets_app.inbound.seats import NOBODY
from websockets_app.inbound.serving import Serving
from websockets_app.inbound.visitor import Visitor
from websockets_app.models import Endpoint, Event, Node, Session
from websockets_app.models.endpoint import EndpointQuerySet
from websockets_app.node import mail, peers, sending
from websockets_app.recording.facts import moment

Serve = Callable[..., Any]

ECHO = "async def on_message(message):\n    return message\n"
SENDER = """
import asyncio

answers = []

async def on_message(message, session):
    answers.append(await session.asend_text("x"))

async def on_close(code):
    answers.append(code)
"""
HESITANT = """
import asyncio

decided = asyncio.Event()

async def may_open(params):
    await decided.wait()
    return True

def on_open():
    pass
"""


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale the time between two looks at idle sessions, so that the tests are quick."""
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.02)


@pytest.fixture
def serve_echo(serve: Serve, write_handler: WriteHandler) -> Serve:
    """Serve an endpoint `echo` with the given fields."""

    async def start(**fields: Any) -> Serving:
        return await serve(echo={"handler": write_handler("echo", ECHO), **fields})

    return start


def visitor(user: User | None = None, address: str = "192.0.2.7") -> Connection:
    connection = Connection("echo", user=user, extensions=["websocket.http.response"])
    connection.scope["client"] = (address, 1234)
    return connection


async def entered(connection: Connection) -> Connection:
    assert (await connection.connect())["type"] == "websocket.accept"
    return connection


async def ended_by(serving: Serving, connection: Connection) -> tuple[int, str, str]:
    """Return how the one session ended, as its close frame, its row and its one event say."""
    closed = await connection.next()
    await connection.ended()
    assert await serving.node.recorder.flush()
    row = await Session.objects.aget(close_cause__gt="")
    event = await Event.objects.aget(kind="close", peer=row.pk)
    assert closed == {"type": "websocket.close", "code": row.close_code, "reason": event.detail}
    assert (event.code, event.cause, event.detail) == (
        row.close_code, row.close_cause, row.close_reason,
    )  # fmt: skip
    return event.code or 0, event.cause, event.detail


# Messages a second


async def test_more_messages_than_the_burst_end_a_session(serve_echo: Serve) -> None:
    serving = await serve_echo(messages_per_second=0.001, message_burst=3)
    connection = await entered(visitor())
    for number in range(4):
        connection.send(str(number))
    for number in range(3):
        assert (await connection.next())["text"] == str(number)
    why = "the endpoint takes 0.001 messages a second, 3 at once"
    assert await ended_by(serving, connection) == (1008, "rate", why)


async def test_messages_that_wait_for_a_slow_handler_count_as_they_come(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "hangs",
        "import asyncio\nasync def on_message():\n    await go.wait()\ngo = asyncio.Event()\n",
    )
    await serve(echo={"handler": reference, "messages_per_second": 0.001, "message_burst": 2})
    connection = await entered(visitor())
    for _ in range(3):
        connection.send("x")
    assert (await connection.next())["code"] == 1008
    sys.modules[reference].go.set()
    await connection.ended()


async def test_a_rate_of_0_is_no_limit(serve_echo: Serve) -> None:
    await serve_echo(messages_per_second=0, message_burst=1)
    connection = await entered(visitor())
    for number in range(50):
        connection.send(str(number))
    for number in range(50):
        assert (await connection.next())["text"] == str(number)
    connection.leave()
    await connection.ended()


async def test_a_changed_rate_holds_for_sessions_that_are_open(serve_echo: Serve) -> None:
    serving = await serve_echo(messages_per_second=0)
    connection = await entered(visitor())
    (session,) = serving.limits._sessions()
    assert session.bucket is None
    await Endpoint.objects.aupdate(messages_per_second=0.001, message_burst=1)
    await aeventually(lambda: session.bucket)
    bucket = session.bucket
    await Endpoint.objects.aupdate(description="not about rates")
    await Endpoint.objects.aupdate(max_message_size=7)
    await aeventually(lambda: session.config.max_message_size == 7)
    assert session.bucket is bucket
    connection.send("a")
    connection.send("b")
    assert (await connection.next())["text"] == "a"
    assert (await connection.next())["code"] == 1008
    await connection.ended()


@pytest.mark.parametrize(
    ("scope", "other", "shared"),
    [
        ("user", visitor(User(pk=1), "192.0.2.8"), True),
        ("user", visitor(User(pk=2)), False),
        ("address", visitor(User(pk=2)), True),
        ("address", visitor(User(pk=2), "::ffff:192.0.2.7"), True),
        ("address", visitor(User(pk=1), "192.0.2.8"), False),
    ],
    ids=["a user", "another user", "an address", "the address as IPv6", "another address"],
)
async def test_sessions_of_one_user_or_address_may_share_a_rate(
    serve_echo: Serve, scope: str, other: Connection, shared: bool
) -> None:
    await serve_echo(messages_per_second=0.001, message_burst=1, rate_scope=scope)
    one, other = await entered(visitor(User(pk=1))), await entered(copy_of(other))
    one.send("a")
    assert (await one.next())["text"] == "a"
    other.send("b")
    answer = await other.next()
    assert answer.get("code") == (1008 if shared else None)
    if shared:
        assert answer["reason"].endswith(f"1 at once of one {scope}")
    for connection in (one, other):
        connection.leave()
        await connection.ended()


def copy_of(connection: Connection) -> Connection:
    """Return a fresh one like a parameter, whose queues belong to no event loop yet."""
    return visitor(connection.scope["user"], connection.scope["client"][0])


async def test_what_all_processes_let_through_together_ends_the_sessions(
    serve_echo: Serve, settings: Settings, valkey_url: str
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "RATE_STORE": valkey_url}
    rate = {"messages_per_second": 1, "message_burst": 20, "rate_scope": "user"}
    serving = await serve_echo(**rate)
    connection = await entered(visitor(User(pk=1)))
    name = f"{(await Endpoint.objects.aget()).pk}:user:1"
    # Another process: what it lets through leaves next to nothing of 222 in 200 s.
    assert await serving.limits._store.take(name, 220, 222, 200)
    for _ in range(5):
        connection.send("x")
    for _ in range(5):
        assert (await connection.next())["text"] == "x"
    why = "the endpoint takes 1 messages a second, 20 at once of one user in all processes"
    assert await ended_by(serving, connection) == (1008, "rate", why)


async def test_while_the_store_is_away_each_process_counts_and_one_event_says_so(
    serve_echo: Serve, settings: Settings
) -> None:
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS, "RATE_STORE": f"redis://127.0.0.1:{free_port()}/0",
    }  # fmt: skip
    serving = await serve_echo(messages_per_second=0.001, message_burst=2, rate_scope="user")
    connection = await entered(visitor(User(pk=1)))
    for number in range(2):
        connection.send("x")
        assert (await connection.next())["text"] == "x"
        (account,) = serving.limits.rates._shared.values()
        await aeventually(partial(_is_told, account, number + 1))
    connection.send("x")
    assert (await connection.next())["code"] == 1008
    await connection.ended()
    await serving.node.recorder.flush()
    (event,) = [event async for event in Event.objects.filter(kind="problem")]
    assert "each process counts rates for itself" in event.detail


def _is_told(account: Account, number: int) -> bool:
    return account.told == number


@pytest.mark.parametrize("url", ["http://example.com", ""])
async def test_a_store_that_cannot_be_used_keeps_nobody_from_serving(
    serve_echo: Serve, settings: Settings, url: str
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "RATE_STORE": url}
    await serve_echo()
    connection = await entered(visitor())
    connection.leave()
    await connection.ended()


# Time


async def test_a_session_without_messages_ends_as_idle(serve_echo: Serve) -> None:
    serving = await serve_echo(idle_timeout=0.05)
    connection = await entered(visitor())
    assert await ended_by(serving, connection) == (4408, "idle", "no message for 0.05 s")


async def test_messages_in_either_direction_keep_a_session_from_being_idle(
    serve_echo: Serve,
) -> None:
    serving = await serve_echo(idle_timeout=1000)
    connection = await entered(visitor())
    (session,) = serving.limits._sessions()
    assert session.overdue(5000.0) is None
    connection.send("in, and out")
    await connection.next()
    assert session.overdue(5999.0) is None
    await session.asend("out alone")
    assert session.overdue(6998.0) is None
    assert session.overdue(7997.0) is None
    limit = session.overdue(7998.0)
    assert limit is not None
    assert limit.cause == "idle"
    connection.leave()
    await connection.ended()


async def test_a_session_that_ends_while_others_are_looked_after_is_ended_once(
    serve_echo: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOOK_AT_ONCE", 1)
    monkeypatch.setattr(limits, "LOOK_SECONDS", 3600.0)
    serving = await serve_echo(idle_timeout=1e-9)
    connections = [await entered(visitor()) for _ in range(2)]
    await serving.limits._look_after()  # from now on they are idle
    looking = asyncio.create_task(serving.limits._look_after())
    last = [*serving.node.peers][-1]
    await asyncio.sleep(0)
    await last.aclose(1000, "bye", CloseCause.HANDLER)
    await looking
    for connection in connections:
        await connection.ended()
        codes = [event["code"] for event in drained(connection) if "code" in event]
        assert codes in ([1000], [4408])


def drained(connection: Connection) -> list[dict[str, Any]]:
    return [connection.sent.get_nowait() for _ in range(connection.sent.qsize())]


class SlowReader(Connection):
    """A peer that reads nothing but what `accept` sends, on a server that waits for it."""

    async def connect(self) -> dict[str, Any]:
        self.send_to_peer = self._send
        return await super().connect()

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            await asyncio.Event().wait()
        await self.sent.put(event)


async def test_a_peer_that_does_not_read_is_closed_and_lets_go_of_the_handler(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("sender", SENDER)
    serving = await serve(echo={"handler": reference, "send_timeout": 0.05})
    connection = await entered(SlowReader("echo"))
    connection.send("go")
    why = "a message to the peer waited for 0.05 s"
    assert await ended_by(serving, connection) == (1013, "slow", why)
    assert sys.modules[reference].answers == ["gone", 1013]


@pytest.mark.parametrize("known", [set(), {"asyncio", "tests"}])
async def test_a_member_of_a_group_that_does_not_read_is_closed_and_the_others_get_the_message(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch, known: set[str]
) -> None:
    monkeypatch.setattr(server, "_SEND_WITHOUT_A_TASK", known)
    monkeypatch.setattr(peers, "FAN_OUT_SECONDS", 0.05)
    serving = await serve(echo={"handler": write_handler("echo", ECHO), "send_timeout": 0})
    slow, quick = await entered(SlowReader("echo")), await entered(Connection("echo"))
    for peer in serving.node.peers:
        serving.node.peers.join(peer, "all")
    assert await serving.node.peers.fan_out("all", "news") == 1
    assert (await quick.next())["text"] == "news"
    assert await ended_by(serving, slow) == (1013, "slow", "too much unread")
    assert await serving.node.peers.fan_out("all", "more") == 1
    quick.leave()
    await quick.ended()


async def test_a_peer_for_whom_more_waits_than_a_process_may_keep_is_closed(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WAITING_BYTES", 1000)
    source = "async def on_message(message, session):\n    session.send_text_async(message)\n"
    serving = await serve(echo={"handler": write_handler("sender", source), "send_timeout": 0})
    connection = await entered(SlowReader("echo"))
    for _ in range(10):
        connection.send("go")
    why = "1000 bytes wait for the peer to read"
    assert await ended_by(serving, connection) == (1013, "slow", why)


async def test_a_send_that_its_own_handler_gave_up_is_no_end(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = SENDER.replace(
        'await session.asend_text("x")', 'await asyncio.wait_for(session.asend_text("x"), 0.01)'
    )
    await serve(echo={"handler": write_handler("impatient", source), "send_timeout": 0})
    connection = await entered(SlowReader("echo"))
    connection.send("go")
    connection.send("go")
    await aeventually(lambda: Event.objects.filter(kind="error").acount())
    assert connection.sent.empty()
    connection.leave()
    await connection.ended()
    assert sys.modules["written_handlers.impatient"].answers == [1000]


# What all sessions of a process queue

HOLDS = """
import asyncio

go, handled = asyncio.Event(), []

async def on_message(message):
    await go.wait()
    handled.append(message[:6])
"""


async def test_the_session_with_the_longest_inbox_is_closed_when_the_process_queues_too_much(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "MAX_QUEUED_BYTES": 50_000}
    reference = write_handler("holds", HOLDS)
    serving = await serve(echo={"handler": reference})
    modest, greedy = await entered(Connection("echo")), await entered(Connection("echo"))
    for number in range(20):
        modest.send(f"modest {number}")
        greedy.send("greedy" + "x" * 3000)
    closed = await greedy.next()
    assert closed["code"] == 1013
    assert await serving.node.recorder.flush()
    event = await Event.objects.aget(kind="close")
    assert (event.code, event.cause) == (1013, "slow")
    assert event.detail == f"{closed['reason']}; messages dropped that waited: 19"
    assert "all peers may queue 50000 bytes (MAX_QUEUED_BYTES)" in event.detail
    sys.modules[reference].go.set()
    await aeventually(lambda: sys.modules[reference].handled.count("modest") == 20)
    modest.leave()
    await modest.ended()
    assert sys.modules[reference].handled.count("greedy") == 1
    assert serving.node.peers.queued.total == 0


async def test_what_a_peer_sent_before_it_left_is_dropped_and_counted_when_it_is_too_much(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "MAX_QUEUED_BYTES": 50_000}
    reference = write_handler("holds", HOLDS)
    serving = await serve(echo={"handler": reference})
    connection = await entered(Connection("echo"))
    for _ in range(20):
        connection.send("x" * 3000)
    connection.leave()
    await aeventually(lambda: not len(serving.node.peers) and not serving.node.peers.queued.total)
    sys.modules[reference].go.set()
    await connection.ended()
    await aeventually(lambda: not serving.node._owned)
    assert sys.modules[reference].handled == ["xxxxxx"]
    assert await serving.node.recorder.flush()
    gap = await Event.objects.aget(kind="gap")
    assert gap.lost == 19
    assert "MAX_QUEUED_BYTES" in gap.detail
    session = await Session.objects.aget()
    assert (gap.peer, session.close_cause) == (session.pk, "peer")


async def test_the_peer_for_whom_the_most_waits_is_closed_when_the_process_queues_too_much(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "MAX_QUEUED_BYTES": 50_000}
    source = "def on_message(message, session):\n    session.send_text_async(message)\n"
    serving = await serve(echo={"handler": write_handler("sender", source), "send_timeout": 0})
    modest, greedy = await entered(SlowReader("echo")), await entered(SlowReader("echo"))
    for _ in range(20):
        modest.send("x")
        greedy.send("x" * 3000)
    code, cause, reason = await ended_by(serving, greedy)
    assert (code, cause) == (1013, "slow")
    assert "all peers may queue 50000 bytes (MAX_QUEUED_BYTES)" in reason
    (other,) = serving.node.peers
    assert serving.node.peers.queued.total == other.queued_bytes > 0
    modest.leave()
    await modest.ended()
    assert serving.node.peers.queued.total == 0


# Groups

JOINS = """
{form} on_message(message, session):
    session.join(message)
    return "joined"

def on_error(error):
    errors.append(error)

errors = []
"""


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_a_handler_that_joins_too_many_groups_gets_an_error_with_the_limit(
    serve: Serve, write_handler: WriteHandler, settings: Settings, form: str
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "GROUPS_PER_SESSION": 2}
    reference = write_handler("joins", JOINS.format(form=form))
    serving = await serve(echo={"handler": reference})
    connection = await entered(Connection("echo"))
    for name in ("a", "b", "b"):
        connection.send(name)
        assert (await connection.next())["text"] == "joined"
    connection.send("c")
    connection.send("x" * 201)
    errors = sys.modules[reference].errors
    await aeventually(lambda: len(errors) == 2)
    assert "a member of 2, as many as WEBSOCKETS['GROUPS_PER_SESSION'] allows" in errors[0]
    assert "The name of a group has 201 characters; at most 200 are allowed." in errors[1]
    assert await serving.node.peers.fan_out("c", "x") == 0
    connection.leave()
    await connection.ended()


async def test_too_many_groups_that_another_process_asks_for_are_recorded(
    serve_echo: Serve, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "GROUPS_PER_SESSION": 1}
    serving = await serve_echo()
    connection = await entered(Connection("echo"))
    (session,) = serving.node.peers
    for number in range(20):
        assert serving.node._deliver(mail.joining(session.id, str(number)))
    assert not serving.node._deliver({"do": "join", "peer": session.id, "group": "x" * 201})
    assert await serving.node.peers.fan_out("0", "x") == 1
    assert await serving.node.peers.fan_out("1", "x") == 0
    assert await serving.node.recorder.flush()
    events = [event.detail async for event in Event.objects.filter(kind="error")]
    assert 0 < len(events) < 19
    assert "a member of 1, as many as WEBSOCKETS['GROUPS_PER_SESSION'] allows" in events[0]
    connection.leave()
    await connection.ended()


# Numbers of sessions


async def test_of_many_who_come_at_once_no_more_enter_than_there_is_room_for(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("hesitant", HESITANT)
    serving = await serve(echo={"handler": reference, "max_sessions": 3})
    connections = [visitor() for _ in range(10)]
    answers = [asyncio.create_task(connection.status()) for connection in connections]
    await aeventually(lambda: sum(answer.done() for answer in answers) == 7)
    sys.modules[reference].decided.set()
    assert sorted(await asyncio.gather(*answers)) == [101] * 3 + [503] * 7
    for connection in connections:
        connection.leave()
        await connection.ended()
    await serving.node.recorder.flush()
    events = [event async for event in Event.objects.filter(kind="refused")]
    assert {(event.code, event.cause) for event in events} == {(1013, "rate")}
    assert "as many sessions are open as the endpoint takes: 3" in events[0].detail
    assert not serving.limits.seats._taken


async def test_who_hesitates_to_open_shares_the_bucket_all_the_same(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("hesitant", HESITANT)
    serving = await serve(echo={"handler": reference, "rate_scope": "address"})
    connection = visitor()
    opening = asyncio.create_task(entered(connection))
    await aeventually(lambda: serving.limits.seats._taken)
    await serving.limits._look_after()
    sys.modules[reference].decided.set()
    await opening
    await entered(visitor())
    await aeventually(lambda: len(serving.limits._sessions()) == 2)
    assert len({session.bucket for session in serving.limits._sessions()}) == 1


async def test_who_leaves_makes_room(serve_echo: Serve) -> None:
    await serve_echo(max_sessions_per_user=1)
    first = await entered(visitor(User(pk=1)))
    assert await visitor(User(pk=1)).status() == 429
    await entered(visitor(User(pk=2)))
    first.leave()
    await first.ended()
    await entered(visitor(User(pk=1)))


async def test_with_close_codes_the_peer_is_told_4429(
    serve_echo: Serve, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "REFUSE_WITH": "close"}
    await serve_echo(max_sessions_per_address=1)
    await entered(visitor())
    refused = await entered(visitor())
    assert (await refused.next())["code"] == 4429
    await entered(visitor(address="192.0.2.8"))


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1), None])
async def test_a_proxy_on_the_same_machine_is_nobodys_address(
    serve_echo: Serve, client: tuple[str, int] | None
) -> None:
    await serve_echo(max_sessions_per_address=1)
    for _ in range(2):
        connection = visitor()
        connection.scope["client"] = client
        await entered(connection)


@pytest.mark.parametrize("answer", ["False", "1/0"])
async def test_whom_the_handler_refuses_takes_no_place(
    serve: Serve, write_handler: WriteHandler, answer: str
) -> None:
    reference = write_handler("strict", f"def may_open():\n    return {answer}")
    serving = await serve(echo={"handler": reference, "max_sessions": 1})
    for _ in range(2):
        assert await visitor().status() in (403, 503)
    assert not serving.limits.seats._taken


async def test_who_is_cancelled_while_the_handler_decides_takes_no_place(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("hesitant", HESITANT)
    serving = await serve(echo={"handler": reference, "max_sessions": 1})
    connection = visitor()
    waiting = asyncio.create_task(connection.connect())
    await aeventually(lambda: serving.limits.seats._taken)
    assert connection.task is not None
    connection.task.cancel()
    await aeventually(lambda: not serving.limits.seats._taken)
    waiting.cancel()


async def test_addresses_of_one_ipv6_network_count_as_one(serve_echo: Serve) -> None:
    await serve_echo(max_sessions_per_address=1)
    await entered(visitor(address="2001:db8:1:2::7"))
    assert await visitor(address="2001:db8:1:2:a:b:c:d").status() == 429
    await entered(visitor(address="2001:db8:1:3::7"))
    await entered(visitor(address="192.0.2.8"))
    assert await visitor(address="::ffff:192.0.2.8").status() == 429


async def test_a_session_keeps_its_whole_address_and_says_what_it_counts_as(
    serve_echo: Serve,
) -> None:
    serving = await serve_echo(max_sessions_per_address=1)
    await entered(visitor(address="2001:db8:1:2::7"))
    await entered(visitor(address="::ffff:127.0.0.1"))
    assert await serving.node.recorder.flush()
    rows = Session.objects.order_by("address").values_list("address", "address_group")
    assert [row async for row in rows] == [
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("::ffff:127.0.0.1", ""),
    ]


async def test_sessions_of_one_ipv6_network_in_other_processes_count_too(
    serve_echo: Serve,
) -> None:
    serving = await serve_echo(max_sessions_per_address=2)
    await neighbour_with_sessions(1, address="2001:db8:1:2::1", address_group="2001:db8:1:2::/64")
    await serving.limits.neighbours.look()
    await entered(visitor(address="2001:db8:1:2::2"))
    assert await visitor(address="2001:db8:1:2::3").status() == 429


async def neighbour_with_sessions(number: int, **columns: str) -> None:
    """Let another server node hold sessions of the endpoint `echo`, of user 1."""
    columns = {"address": "192.0.2.7", "address_group": "192.0.2.7"} | columns
    await Node.objects.acreate(
        id="other", kind="server", pid=1, started_at=moment(1), renewed_at=moment(1)
    )
    endpoint = await Endpoint.objects.aget(endpoint="echo")
    for index in range(number):
        await Session.objects.acreate(
            id=str(index), endpoint=endpoint, endpoint_path="echo", node_id="other", path="/",
            user_key="1", opened_at=moment(index), **columns,
        )  # fmt: skip


async def test_sessions_of_other_processes_count_too(serve_echo: Serve) -> None:
    serving = await serve_echo(max_sessions_per_user=3)
    await neighbour_with_sessions(2)
    await serving.limits.neighbours.look()
    await entered(visitor(User(pk=1)))
    assert await visitor(User(pk=1)).status() == 429
    await entered(visitor(User(pk=2)))
    await entered(visitor(AnonymousUser()))


async def test_strangers_are_counted_over_all_processes_too(serve_echo: Serve) -> None:
    serving = await serve_echo(max_sessions=3)
    await neighbour_with_sessions(2)
    assert await visitor().status() == 101  # nobody has looked yet
    await serving.limits.neighbours.look()
    assert await visitor().status() == 503


async def test_all_sessions_of_other_processes_are_counted_once_for_a_crowd(
    serve_echo: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = await serve_echo(max_sessions=4, max_sessions_per_user=1)
    await neighbour_with_sessions(2)
    await serving.limits.neighbours.look()
    asked = []
    count = EndpointQuerySet.open_beside

    def counting(*arguments: Any, all_of_them: bool) -> Any:
        asked.append(all_of_them)
        return count(*arguments, all_of_them=all_of_them)

    monkeypatch.setattr(EndpointQuerySet, "open_beside", counting)
    monkeypatch.setattr(neighbours, "COUNT_SECONDS", 3600.0)
    assert await visitor(User(pk=2)).status() == 101
    assert await visitor(User(pk=1)).status() == 429
    assert await visitor(User(pk=3)).status() == 101
    assert await visitor(User(pk=4)).status() == 503
    monkeypatch.setattr(neighbours, "COUNT_SECONDS", 0.0)
    await Session.objects.filter(node_id="other").adelete()
    assert await visitor(User(pk=4)).status() == 101
    assert asked == [True, False, False, False, True]


@pytest.mark.django_db
def test_numbers_of_other_nodes_cost_one_query_and_none_is_no_reason_to_refuse(
    django_assert_num_queries: Any,
) -> None:
    row = Endpoint.objects.create(endpoint="a", handler="handlers.echo")
    with django_assert_num_queries(1):
        assert Endpoint.objects.filter(pk=row.pk).open_beside("x", "1", "192.0.2.7") == (0, 0, 0)
    assert Endpoint.objects.filter(pk=0).open_beside("x", "", "") == (0, 0, 0)


async def test_with_the_database_away_a_process_counts_its_own_sessions(
    serve_echo: Serve,
) -> None:
    serving = await serve_echo(max_sessions=1)
    config = serving.registry.match("/websockets/v4/service/echo").config

    def away(*arguments: Any) -> None:
        raise OperationalError("away")

    def hold() -> object:
        with database.execute_wrapper(away):
            return serving.limits.neighbours.hold(config, Visitor("1", ""))

    assert await serving.node.lookups.run(hold) is NOBODY
