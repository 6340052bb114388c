"""How the clients do, for people and for programs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from ..core.states import Desired
from ..core.table import table
from ..core.text import tame
from ..models import Client, ClientRuntime
from ..node.health import START_A_RUNNER, live_runners
from .credentials import redacted

NAMES_TOLD: Final = 20
NAME_LIMIT: Final = 40
REASON_LIMIT: Final = 500
_SPARE: Final = ("RUNNER", "DESIRED", "NEXT ATTEMPT", "SINCE")
_OF_RUNTIME: Final = (
    "state", "reason", "failure", "since", "attempt", "next_attempt_at", "opened_at", "ready_at",
    "messages_in", "messages_out",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReport:
    """One client: what is wanted of it, and what its runner last told."""

    id: int
    name: str
    uri: str
    """For people: no credentials, no query values."""
    handler: str
    ephemeral: bool
    desired: str
    state: str
    reason: str
    failure: str
    since: datetime | None
    attempt: int
    next_attempt_at: datetime | None
    opened_at: datetime | None
    ready_at: datetime | None
    messages_in: int
    messages_out: int
    runner: str | None
    """The node that holds it."""
    runner_is_live: bool

    @property
    def shown_name(self) -> str:
        return tame(self.name, NAME_LIMIT) + (" (ephemeral)" if self.ephemeral else "")

    @property
    def why(self) -> str:
        """The reason on one line; of a runner that is gone, that this is what it told last."""
        if self.runner and not self.runner_is_live:
            return "told by a runner that doesn't renew its lease"
        return tame(self.reason.partition("\n")[0], REASON_LIMIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The clients, and whether anybody runs them."""

    clients: tuple[ClientReport, ...]
    nobody_runs_them: bool

    def as_list(self) -> list[dict[str, Any]]:
        return [asdict(client) for client in self.clients]

    @property
    def warning(self) -> str:
        """What no row says, or an empty string."""
        return f"No runner is alive: {START_A_RUNNER}." if self.nobody_runs_them else ""

    def lines(self, width: int, height: int | None = None) -> list[str]:
        """Return a table, and the warning, in `width` columns and `height` lines at most."""
        if not self.clients:
            return ["There are no clients."]
        rows = _table(self.clients, width)
        below = [self.warning] if self.warning else []
        room = len(rows) if height is None else max(height - len(below), 2)
        if len(rows) > room:
            below.insert(0, f"… and {len(rows) - room + 1} more")
            rows = rows[: room - 1]
        return [*rows, *below]


def look(names: Collection[str] = ()) -> Report:
    """Return how the clients of `names`, or all, do now."""
    rows = Client.objects.select_related("runtime__holder").order_by("name")
    live = live_runners()
    clients = tuple(_client(row, live) for row in (rows.filter(name__in=names) if names else rows))
    wanted = any(client.desired == Desired.RUN for client in clients)
    return Report(clients=clients, nobody_runs_them=wanted and not live)


def missing(names: Collection[str]) -> str:
    """Return a sentence that tells which of `names` no client has, or an empty string."""
    known = set(Client.objects.filter(name__in=names).values_list("name", flat=True))
    unknown = sorted(set(names) - known)
    if not unknown:
        return ""
    there = Client.objects.order_by("name").values_list("name", flat=True)
    told, more = list(there[:NAMES_TOLD]), there.count() - NAMES_TOLD
    existing = ", ".join(map(tame, told)) + (f" and {more} more" if more > 0 else "")
    return f"No client {', '.join(map(tame, unknown))}. There are: {existing or 'none'}."


def shown_time(moment: datetime | None) -> str:
    """Return a time to the second in the time zone of the site, with its day if not today's."""
    if moment is None:
        return "–"
    local, today = _local(moment), _local(timezone.now()).date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def _client(row: Client, live: Collection[str]) -> ClientReport:
    found: ClientRuntime | None = getattr(row, "runtime", None)
    runtime = found or ClientRuntime(client=row)
    node = runtime.holder  # whose row may be gone
    return ClientReport(
        id=row.pk,
        name=row.name,
        uri=redacted(row.uri),
        handler=row.handler,
        ephemeral=row.ephemeral,
        desired=row.desired,
        runner=f"{node.hostname}:{node.pid}" if node else runtime.holder_id,
        runner_is_live=runtime.holder_id in live,
        **{name: getattr(runtime, name) for name in _OF_RUNTIME},
    )


def _table(clients: Collection[ClientReport], width: int) -> list[str]:
    columns = {
        "NAME": [client.shown_name for client in clients],
        "DESIRED": [client.desired for client in clients],
        "STATE": [client.state for client in clients],
        "SINCE": [shown_time(client.since) for client in clients],
        "NEXT ATTEMPT": [shown_time(client.next_attempt_at) for client in clients],
        "RUNNER": [tame(client.runner or "–", NAME_LIMIT) for client in clients],
        "WHY": [client.why for client in clients],
    }
    return table(columns, width, _SPARE)


def _local(moment: datetime) -> datetime:
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment
