"""The stage: a site with clients, the peer that they talk to, a sender and a runner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from signal import SIGTERM
from typing import Any

from benchmarks import counting_peer
from tests.infrastructure.processes import Process
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import eventually

TABLE = "websockets_app_outboxmessage"
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How long the sender took for its messages, and how much of a core."""

    seconds: float
    cpu: float


class Stage:
    """Sends, and waits until all is acknowledged; what came before stays in the table."""

    def __init__(self, site: Site) -> None:
        self.peer = counting_peer.start(site)
        self._site = site
        self._handler = site.write_handler("silent", "def on_message(message): pass\n")

    def add_clients(self, names: Sequence[str]) -> None:
        row = {"uri": self.peer.ws("/"), "handler": self._handler}
        self._site.shell(f"for name in {names!r}: Client.objects.create(name=name, **{row!r})")

    def send(self, messages: int, names: Sequence[str], threads: int) -> Sent:
        """Send `messages` from a process of its own."""
        numbers = (str(messages), str(threads))
        command = [sys.executable, "-m", "benchmarks.outbox.send", *numbers, *names]
        done = subprocess.run(
            command, env=self._site.env(), stdout=subprocess.PIPE, text=True, check=True
        )
        return Sent(**json.loads(done.stdout))

    @contextmanager
    def runner(self, names: Sequence[str]) -> Iterator[Process]:
        """Run a runner of the clients named; it begins with the first connection open."""
        runner = self._site.start_runner(*names)
        try:
            eventually(lambda: f"Client {names[-1]}: open" in runner.output, 20, every=0.01)
            yield runner
        finally:
            runner.kill(SIGTERM)

    def expect(self, messages: int) -> Delivery:
        """Expect `messages` that are sent from now on."""
        return Delivery(self, messages)

    def one(self, columns: str, where: str = "1 = 1") -> dict[str, Any]:
        """Return aggregates over the outbox."""
        return self._site.rows(f"SELECT {columns} FROM {TABLE} WHERE {where}")[0]  # noqa: S608


class Delivery:
    """Messages that are to arrive and to be acknowledged, each of them once."""

    def __init__(self, stage: Stage, messages: int) -> None:
        self._stage = stage
        self._messages = messages
        self._arrived = counting_peer.count(stage.peer)
        self._last = stage.one("max(id) AS id")["id"] or 0

    def left(self) -> int:
        """Return how many haven't arrived yet."""
        return self._messages - (counting_peer.count(self._stage.peer) - self._arrived)

    def wait(self) -> None:
        """Wait until all are acknowledged; fail where one came twice."""
        eventually(lambda: self.left() <= 0, PATIENCE_SECONDS, every=0.1)
        eventually(self._all_acknowledged, PATIENCE_SECONDS, every=0.05)
        if twice := -self.left():
            raise AssertionError(f"{twice} messages arrived more than once.")

    def seconds(self, since: str) -> float:
        """Return the time from the first `since` to the last acknowledgement, as the rows say."""
        row = self._stage.one(f"min({since}) AS first, max(ended_at) AS last", self._rows())
        return (_moment(row["last"]) - _moment(row["first"])).total_seconds()

    def _rows(self) -> str:
        return f"id > {self._last}"

    def _all_acknowledged(self) -> bool:
        where = f"{self._rows()} AND status = 'acknowledged'"
        return bool(self._stage.one("count(*) AS number", where)["number"] == self._messages)


def _moment(value: datetime | str) -> datetime:
    """Return a moment as PostgreSQL and SQLite give it."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value
