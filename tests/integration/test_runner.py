"""The runner as a real process, its clients against real peers."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.infrastructure.processes import Process
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, eventually
from tests.integration.peers import close_at_once, running_peer

# A line is one write: print() with several arguments makes several, and threads then mix theirs.
TRACE = """
import asyncio

def say(line):
    print(line + "\\n", end="", flush=True)

async def on_open(session):
    say(f"open {session.direction}")
    return "hello"

async def on_message(message):
    say(f"message {message}")
    if message.startswith("sleep"):
        await asyncio.sleep(float(message.split()[1]))
        say("slept")

def on_error(error):
    say(f"error {error}")

def on_close(code):
    say(f"closed {code}")
"""

QUICK = "WEBSOCKETS |= {'NODE_TTL': 3.0, 'HEARTBEAT_INTERVAL': 0.5, 'POLL_INTERVAL': 0.25}"
CLIENTS = "websockets_app_client"
RUNTIMES = "websockets_app_clientruntime"


class Clients:
    """The clients of a site, written as another process would, and what their runner says."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.handler = site.write_handler("trace", TRACE)

    def create(self, **rows: dict[str, Any]) -> None:
        """Create clients by their names, with whatever fields differ from the usual."""
        usual = {"handler": self.handler, "backoff_base": 0.2}
        described = [{"name": name, **usual, **row} for name, row in rows.items()]
        self.site.shell(f"for row in {described!r}: Client.objects.create(**row)")

    def change(self, name: str, **fields: Any) -> None:
        """Change a row straight in the database, which is what any other process does."""
        assert self.site.sqlite is not None
        sets = ", ".join(f"{field} = ?" for field in fields)
        with sqlite3.connect(self.site.sqlite, timeout=20) as opened:
            sql = f"UPDATE {CLIENTS} SET {sets}, revision = revision + 1 WHERE name = ?"  # noqa: S608
            opened.execute(sql, [*fields.values(), name])
        opened.close()

    def runtime(self, name: str) -> dict[str, Any]:
        rows = self.site.rows(
            f"SELECT r.* FROM {RUNTIMES} r JOIN {CLIENTS} c ON c.id = r.client_id"  # noqa: S608
            f" WHERE c.name = '{name}'"
        )
        return rows[0] if rows else {"state": "", "reason": ""}

    def wait_for(self, name: str, state: str, timeout: float = 10.0) -> dict[str, Any]:
        def found() -> dict[str, Any]:
            row = self.runtime(name)
            assert row["state"] == state, (row["state"], row["reason"])
            return row

        return eventually(found, timeout)

    def kinds(self, name: str) -> list[str]:
        """What is recorded of a client, in order."""
        rows = self.site.rows(
            "SELECT kind, name FROM websockets_app_event WHERE direction = 'out' ORDER BY id"
        )
        return [row["kind"] for row in rows if row["name"] == name]


@pytest.fixture
def clients(site: Site) -> Clients:
    return Clients(site)


def ready(site: Site, *names: str) -> Process:
    runner = site.start_runner(*names)
    runner.wait_for_output("is ready")
    return runner


def test_a_client_opens_talks_and_is_closed_with_the_runner(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(echo={"uri": peer.uri})
        runner = ready(clients.site)
        runner.wait_for_output("message hello")
        row = clients.wait_for("echo", "open")
        assert row["opened_at"]
        eventually(lambda: clients.runtime("echo")["messages_in"] == 1)
        began = time.monotonic()
        assert runner.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5 * SCALE
    lines = [line for line in runner.output.splitlines() if " INFO " not in line]
    assert [line for line in lines if line.split()[0] in {"open", "message", "closed"}] == [
        "open out",
        "message hello",
        "closed 1001",
    ]
    row = clients.runtime("echo")
    assert (row["state"], row["reason"], row["holder_id"]) == (
        "unassigned",
        "its runner was stopped",
        None,
    )
    assert clients.kinds("echo") == ["connecting", "open", "close"]
    (close,) = clients.site.rows(
        "SELECT code, cause FROM websockets_app_event WHERE kind = 'close'"
    )
    assert close == {"code": 1001, "cause": "shutdown"}
    (node,) = clients.site.rows("SELECT kind, state FROM websockets_app_node")
    assert node == {"kind": "runner", "state": "stopped"}


def test_changes_of_a_row_are_followed_within_a_second(clients: Clients) -> None:
    with running_peer() as first, running_peer() as second:
        clients.create(live={"uri": first.uri, "desired": "stop"})
        runner = ready(clients.site)
        assert not first.handshakes
        clients.change("live", desired="run")
        eventually(lambda: first.connections, timeout=1.5)
        clients.change("live", description="nothing that a connection would notice")
        clients.change("live", uri=second.uri)
        eventually(lambda: second.connections and not first.connections, timeout=1.5)
        assert first.handshakes == 1
        clients.change("live", desired="stop")
        eventually(lambda: not second.connections, timeout=1.5)
        row = clients.wait_for("live", "stopped")
        assert row["holder_id"] is None
        runner.wait_for_output("closed 1000")
        assert runner.returncode is None


def test_another_handler_takes_the_next_message_of_the_same_connection(clients: Clients) -> None:
    other = clients.site.write_handler(
        "other", "def on_message(message):\n    print('other', message)\n"
    )
    with running_peer() as peer:
        clients.create(live={"uri": peer.uri})
        runner = ready(clients.site)
        runner.wait_for_output("message hello")
        clients.change("live", handler=other)

        def taken() -> bool:
            peer.say("now")
            return "other now" in runner.output

        eventually(taken, timeout=2)
        assert peer.handshakes == 1
        eventually(lambda: "changed" in clients.kinds("live"))


def test_a_restarted_peer_is_found_again(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(back={"uri": peer.uri, "backoff_ceiling": 0.5})
        runner = ready(clients.site)
        clients.wait_for("back", "open")
        peer.stop(1012)
        clients.wait_for("back", "backoff")
        assert clients.runtime("back")["next_attempt_at"]
        peer.start()
        clients.wait_for("back", "open")
        runner.wait_for_output("error")
        eventually(lambda: clients.kinds("back")[-2:] == ["connecting", "open"])
    kinds = clients.kinds("back")
    assert kinds[:5] == ["connecting", "open", "close", "reconnect", "connecting"]
    assert kinds[5:7] == ["error", "reconnect"]


def test_a_peer_that_accepts_and_closes_at_once_gets_backoff_not_a_storm(
    clients: Clients,
) -> None:
    with running_peer(close_at_once) as peer:
        clients.create(storm={"uri": peer.uri, "backoff_base": 0.5, "backoff_ceiling": 60})
        ready(clients.site)
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 5, timeout=10)
        assert 2 <= peer.handshakes <= 8
        assert clients.runtime("storm")["attempt"] >= 2


def test_refused_credentials_and_refused_addresses_fail_with_the_reason(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(
        settings="WEBSOCKETS |= {'ALLOWED_CLIENT_HOSTS': ['127.0.0.1'],"
        " 'CLIENT_ENVIRONMENT': ['NOT_THERE']}"
    )
    clients = Clients(site)
    with running_peer(status=401) as peer:
        clients.create(
            unknown={"uri": peer.uri},
            private={"uri": "ws://169.254.169.254/latest"},
            secret={"uri": f"{peer.uri}?token=env:NOT_THERE"},
            handlerless={"uri": peer.uri, "handler": "site_handlers.missing"},
        )
        ready(site)
        assert "HTTP 401" in clients.wait_for("unknown", "failed")["reason"]
        assert "ALLOWED_CLIENT_HOSTS" in clients.wait_for("private", "failed")["reason"]
        assert "NOT_THERE" in clients.wait_for("secret", "failed")["reason"]
        assert "site_handlers.missing" in clients.wait_for("handlerless", "failed")["reason"]
        assert peer.handshakes == 1
        clients.change("handlerless", handler=clients.handler)
        assert "HTTP 401" in eventually(
            lambda: "401" in (row := clients.runtime("handlerless"))["reason"] and row["reason"]
        )
        eventually(lambda: clients.kinds("unknown") == ["connecting", "error", "reconnect"])
        assert "problem" in clients.kinds("handlerless")


def test_a_client_has_one_runner_and_finds_another_when_that_is_killed(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(settings=QUICK)
    clients = Clients(site)
    with running_peer() as peer:
        clients.create(shared={"uri": peer.uri})
        first = ready(site)
        clients.wait_for("shared", "open")
        second = ready(site)
        epoch = clients.runtime("shared")["epoch"]
        site.kill(first)
        began = time.monotonic()
        second.wait_for_output("message hello", timeout=20)
        assert time.monotonic() - began < 20 * SCALE
        assert peer.handshakes == 2
        row = clients.wait_for("shared", "open")
        assert row["epoch"] > epoch + 1  # one for the loss, one for the claim
        kinds = [row["kind"] for row in site.rows("SELECT kind FROM websockets_app_event")]
        assert "node_lost" in kinds
        assert second.kill(signal.SIGTERM) == 0


def test_a_runner_that_was_taken_for_dead_lets_go(make_site: Callable[..., Site]) -> None:
    site = make_site(settings=QUICK)
    clients = Clients(site)
    with running_peer() as peer:
        clients.create(paused={"uri": peer.uri})
        first = ready(site)
        clients.wait_for("paused", "open")
        second = ready(site)
        first.send(signal.SIGSTOP)
        second.wait_for_output("message hello", timeout=15)
        held = clients.wait_for("paused", "open")
        first.send(signal.SIGCONT)
        first.wait_for_output("closed 1001")
        eventually(lambda: len(peer.connections) == 1)
        assert clients.runtime("paused")["holder_id"] == held["holder_id"]
        closes = "SELECT cause FROM websockets_app_event WHERE kind = 'close'"
        eventually(lambda: site.rows(closes) == [{"cause": "lease_lost"}])


def test_a_locked_database_closes_no_socket_and_loses_no_event(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(patient={"uri": peer.uri, "record_messages": "rows"})
        runner = ready(clients.site)
        clients.wait_for("patient", "open")
        assert clients.site.sqlite is not None
        locked = sqlite3.connect(clients.site.sqlite, isolation_level=None)
        locked.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        sent = 0
        while time.monotonic() - began < 10:
            sent += 1
            peer.say(f"tick {sent}")
            eventually(lambda: f"message tick {sent}" in runner.output, every=0.2)  # noqa: B023
            assert peer.handshakes == 1
        locked.execute("ROLLBACK")
        locked.close()

        def sizes() -> list[int]:
            rows = clients.site.rows(
                "SELECT size FROM websockets_app_event"
                " WHERE kind = 'message' AND NOT outgoing ORDER BY id"
            )
            return [row["size"] for row in rows]

        expected = [len("hello"), *(len(f"tick {number + 1}") for number in range(sent))]
        eventually(lambda: sizes() == expected, timeout=15)
        assert runner.kill(signal.SIGTERM) == 0
        assert peer.handshakes == 1


def test_a_handler_that_is_busy_ends_before_the_runner_does(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(busy={"uri": peer.uri})
        runner = ready(clients.site)
        runner.wait_for_output("message hello")
        peer.say("sleep 1")
        runner.wait_for_output("message sleep 1")
        assert runner.kill(signal.SIGTERM) == 0
        assert runner.output.index("slept") < runner.output.index("closed 1001")


def test_a_second_signal_hurries(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(busy={"uri": peer.uri})
        runner = ready(clients.site)
        runner.wait_for_output("message hello")
        peer.say("sleep 60")
        runner.wait_for_output("message sleep 60")
        runner.send(signal.SIGTERM)
        runner.wait_for_output("Runner stops")
        began = time.monotonic()
        assert runner.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5 * SCALE
        assert "closed 1001" in runner.output


def test_handlers_that_never_end_hold_the_runner_up_only_so_long(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(settings="WEBSOCKETS |= {'SHUTDOWN_TIMEOUT': 1.0}")
    clients = Clients(site)
    blocks = site.write_handler(
        "blocks",
        """
        import time

        def on_message(message):
            print("begins to block\\n", end="", flush=True)
            time.sleep(600)

        def on_close(code):
            print(f"closed all the same {code}\\n", end="", flush=True)
        """,
    )
    with running_peer() as peer:
        clients.create(waits={"uri": peer.uri}, blocks={"uri": peer.uri, "handler": blocks})
        runner = ready(site)
        clients.wait_for("blocks", "open")
        runner.wait_for_output("message hello")
        peer.say("sleep 600")
        runner.wait_for_output("message sleep 600")
        runner.wait_for_output("begins to block")
        began = time.monotonic()
        assert runner.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10 * SCALE
    assert "closed 1001" in runner.output
    assert "closed all the same 1001" in runner.output
    holders = site.rows(f"SELECT state, holder_id FROM {RUNTIMES}")  # noqa: S608
    assert holders == [{"state": "unassigned", "holder_id": None}] * 2
    closes = site.rows("SELECT cause FROM websockets_app_event WHERE kind = 'close'")
    assert closes == [{"cause": "shutdown"}] * 2


def test_only_the_clients_that_are_named_run(clients: Clients) -> None:
    with running_peer() as peer:
        clients.create(one={"uri": peer.uri}, two={"uri": peer.uri})
        ready(clients.site, "two")
        clients.wait_for("two", "open")
        assert clients.runtime("one")["state"] == ""
    refused = clients.site.manage("run_websocket_clients", "three", check=False)
    assert refused.returncode == 1
    assert "No client three. There are: one, two." in refused.stderr
