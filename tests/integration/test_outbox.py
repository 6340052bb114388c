"""What the outbox promises, kept by real processes: senders, runners that are killed, a layer."""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from tests.infrastructure.processes import Process
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, eventually
from tests.integration.peers import Peer

QUICK = "WEBSOCKETS |= {'NODE_TTL': 2.0, 'HEARTBEAT_INTERVAL': 0.3}"
NEVER_POLLS = "WEBSOCKETS |= {'POLL_INTERVAL': 3600.0}"
MESSAGES = "websockets_app_outboxmessage"

SENDING = """
import random, threading, time
from django.db import close_old_connections, connection, transaction
from websockets_app import websockets

def client(name):
    return websockets.get_client(Client.objects.get(name=name).pk)

def statuses(*texts):
    found = OutboxMessage.objects.filter(text__in=texts)
    return set(found.values_list("status", flat=True))

def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


class Log(Peer):
    """A peer that keeps what its library reads, which is what its pongs speak of."""

    def __init__(self) -> None:
        self.received: defaultdict[str, list[str]] = defaultdict(list)
        """Texts by the path of the connection that they came over."""
        self.times: dict[str, float] = {}
        self.closes: list[int | None] = []
        super().__init__(self._read)

    def _read(self, connection: ServerConnection) -> None:
        try:
            for _ in connection:
                pass
        except ConnectionClosed:
            pass
        self.closes.append(connection.close_code)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        received, process_event = self.received[request.path], connection.process_event

        def process(event: Any) -> None:
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                text = bytes(event.data).decode()
                received.append(text)
                self.times[text] = time.time()
            process_event(event)

        connection.process_event = process  # type: ignore[method-assign]
        return super()._process_request(connection, request)


@contextmanager
def running_log() -> Iterator[Log]:
    log = Log()
    try:
        yield log
    finally:
        log.stop()


def creating(**rows: dict[str, Any]) -> str:
    """Return the code that creates clients by their names."""
    usual = {"handler": "handlers.printer", "backoff_base": 0.1, "backoff_ceiling": 0.5}
    described = [{"name": name, **usual, **row} for name, row in rows.items()]
    return f"for row in {described!r}: Client.objects.create(**row)\n"


def ready(site: Site) -> Process:
    runner = site.start_runner()
    runner.wait_for_output("is ready", timeout=20)
    return runner


FROM = f"FROM {MESSAGES} m JOIN websockets_app_client c ON c.id = m.client_id"


def rows(site: Site, client: str) -> list[dict[str, Any]]:
    return site.rows(f"SELECT m.* {FROM} WHERE c.name = '{client}' ORDER BY m.id")


def statuses(site: Site, client: str) -> Counter[str]:
    sql = f"SELECT status, count(*) AS n {FROM} WHERE c.name = '{client}' GROUP BY status"
    return Counter({row["status"]: row["n"] for row in site.rows(sql)})


def queue(site: Site, client: str, count: int) -> None:
    """Queue numbers in one transaction, straight in SQLite, so that a test needn't wait for it."""
    site.rows(
        f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"  # noqa: S608
        f" INSERT INTO {MESSAGES} (client_id, message_id, text, close_reason, close_cause, status,"
        " queued_at, attempts, reason) SELECT c.id, lower(hex(randomblob(16))), i, '', '',"
        " 'queued', '2030-01-01', 0, ''"
        f" FROM n, websockets_app_client c WHERE c.name = '{client}' ORDER BY i"
    )


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_a_thousand_wait_for_their_peer_a_lone_one_is_found_and_sigterm_finishes_what_goes_out(
    site: Site,
) -> None:
    with running_log() as peer:
        peer.stop()
        site.shell(
            creating(one={"uri": peer.uri}) + SENDING + "one = client('one')\n"
            "for n in range(1000): one.send(str(n))"
        )
        runner = ready(site)
        runner.wait_for_output("backoff")
        assert statuses(site, "one") == {"queued": 1000}
        peer.start()
        eventually(lambda: statuses(site, "one") == {"acknowledged": 1000}, timeout=20)
        assert peer.received["/"] == numbers(1000)

        sending = SENDING + "print(time.time())\nclient('one').send('alone')"
        sent_at = float(site.shell(sending))
        alone = eventually(lambda: peer.times.get("alone"))
        assert alone - sent_at < (0.5 + 0.5) * SCALE  # it polls, without a layer

        queue(site, "one", 5000)
        eventually(lambda: len(peer.received["/"]) > 1001 + 200, every=0.001)
        began = time.monotonic()
        assert runner.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5 * SCALE
        found = statuses(site, "one")
        assert set(found) == {"acknowledged", "queued"}, found
        assert len(peer.received["/"]) == found["acknowledged"]
        assert peer.received["/"][1001:] == numbers(found["acknowledged"] - 1001)
        eventually(lambda: peer.closes[-1:] == [1001])


@pytest.mark.timeout(180)
def test_a_runner_that_is_killed_amid_ten_thousand_leaves_what_its_successor_can_account_for(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(settings=QUICK)
    with running_log() as peer:
        site.shell(
            creating(
                hold={"uri": peer.uri + "hold"},
                resend={"uri": peer.uri + "resend", "on_uncertain": "resend"},
            )
        )
        queue(site, "hold", 10_000)
        queue(site, "resend", 3_000)
        ids = {row["text"]: row["message_id"] for row in rows(site, "resend")}
        first = site.start_runner()
        eventually(
            lambda: min(len(peer.received[path]) for path in ("/hold", "/resend")) > 500,
            timeout=20,
            every=0.001,
        )
        site.kill(first)
        left = statuses(site, "hold")
        assert set(left) <= {"acknowledged", "claimed", "written", "queued"}
        assert left["queued"] > 1000

        second = ready(site)
        for client in ("hold", "resend"):
            eventually(
                lambda: not {"queued", "claimed", "written"} & set(statuses(site, client)),  # noqa: B023
                timeout=60,
            )
        assert second.kill(signal.SIGTERM) == 0

        received = Counter(peer.received["/hold"])
        by_status = defaultdict(set)
        for row in rows(site, "hold"):
            by_status[row["status"]].add(row["text"])
        assert by_status.keys() <= {"acknowledged", "uncertain"}
        assert len(by_status["uncertain"]) <= 100
        assert set(received.values()) == {1}
        assert by_status["acknowledged"] <= received.keys()
        assert peer.received["/hold"] == sorted(received, key=int)

        assert statuses(site, "resend") == {"acknowledged": 3_000}
        assert list(dict.fromkeys(peer.received["/resend"])) == numbers(3_000)
        assert {row["text"]: row["message_id"] for row in rows(site, "resend")} == ids


def test_a_layer_wakes_the_runner_and_commits_out_of_order_lose_nothing_and_keep_each_order(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url, settings=NEVER_POLLS)
    with running_log() as peer:
        site.shell(creating(one={"uri": peer.uri}))
        ready(site)
        eventually(lambda: peer.connections)
        sent_at = float(site.shell(SENDING + OUT_OF_ORDER))
        eventually(
            lambda: statuses(site, "one") == {"acknowledged": 1 + 2 + 2 + 4 * 50}, timeout=10
        )
        assert peer.times["woken"] - sent_at < 1.0 * SCALE
        late = ["b 0", "b 1", "a 0", "a 1"]
        assert [text for text in peer.received["/"] if text in late] == late
        for sender in "cdef":
            own = [text for text in peer.received["/"] if text[0] == sender]
            assert own == [f"{sender} {number}" for number in range(50)]


OUT_OF_ORDER = """
one = client("one")
print(time.time())
one.send("woken")
wait_for(lambda: statuses("woken") == {"acknowledged"})

# The lower id commits later: after the higher one has even arrived.

has_begun, may_commit = threading.Event(), threading.Event()

def late():
    with transaction.atomic():
        one.send("a 0")
        has_begun.set()
        may_commit.wait(20)
        one.send("a 1")
    connection.close()

thread = threading.Thread(target=late)
thread.start()
has_begun.wait(20)
with transaction.atomic():
    one.send("b 0")
    one.send("b 1")
wait_for(lambda: statuses("b 0", "b 1") == {"acknowledged"})
may_commit.set()
thread.join()
lower = OutboxMessage.objects.get(text="a 0").pk
assert lower < OutboxMessage.objects.get(text="b 0").pk

# Many at once, while the runner sends.

def send(name):
    for number in range(0, 50, 2):
        with transaction.atomic():
            one.send(f"{name} {number}")
            time.sleep(random.random() / 50)
            one.send(f"{name} {number + 1}")
    connection.close()

threads = [threading.Thread(target=send, args=[name]) for name in "cdef"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
