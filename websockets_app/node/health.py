"""Whether the nodes are well, as monitoring asks: told by rows alone, on the database's clock."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.db import Error

from ..conf import app_settings
from ..core.states import NodeKind, NodeState
from ..core.table import aligned
from ..core.text import tame
from ..models import Client, Node
from ..models.node import NodeQuerySet, Now
from ..redaction import clean

START_A_RUNNER: Final = "start manage.py run_websocket_clients"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node, and how long ago it renewed its lease."""

    id: str
    host: str
    pid: int
    kind: str
    server: str
    state: str
    started_at: datetime
    seconds_since_renewal: float
    is_live: bool
    open_sessions: int
    held_clients: int
    stuck_callbacks: int
    waiting_callbacks: int

    @property
    def is_overdue(self) -> bool:
        """Whether the node counts as alive and doesn't look it."""
        return self.state == NodeState.ALIVE and not self.is_live

    @property
    def address(self) -> str:
        return f"{tame(self.host, 64)}:{self.pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found; healthy is what has no problems."""

    nodes: tuple[NodeReport, ...] = ()
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"healthy": not self.problems, **asdict(self)}

    def lines(self) -> list[str]:
        """Return the verdict, then a line for each node."""
        verdict = [f"Unhealthy: {problem}" for problem in self.problems] or [self._praise()]
        return [*verdict, *aligned(map(_cells, self.nodes))]

    def _praise(self) -> str:
        kinds = Counter(node.kind for node in self.nodes if node.is_live)
        counted = ", ".join(f"{kind} nodes: {number}" for kind, number in sorted(kinds.items()))
        return f"Healthy: {counted or 'no node is alive, and none is asked for'}."


def examine(kinds: Collection[str] = (), *, local: bool = False, every: bool = False) -> Health:
    """Look at the nodes: of `kinds` only, of this host only, with those that ended as well.

    Of each of `kinds` there has to be a live one. Where no kind is asked for, and all hosts are
    looked at, there has to be a live runner if clients should run.
    """
    try:
        nodes = tuple(_reports(_asked_for(kinds, local, every)))
        return Health(nodes=nodes, problems=tuple(_problems(nodes, kinds, local)))
    except Error as error:
        return Health(problems=(no_answer(error),))


def no_answer(error: Error) -> str:
    """Return what to tell of a database that is away, on one line."""
    return f"The database doesn't answer: {clean(' '.join(str(error).split()), 200)}"


def live_runners() -> frozenset[str]:
    """Return the ids of the runners that renew their leases."""
    runners = Node.objects.filter(kind=NodeKind.RUNNER, state=NodeState.ALIVE)
    return frozenset(node.id for node in _reports(runners.with_load()) if node.is_live)


def nobody_runs_them() -> bool:
    """Tell whether clients should run and no runner is alive."""
    return Client.objects.desired_to_run().exists() and not live_runners()


def _asked_for(kinds: Collection[str], local: bool, every: bool) -> NodeQuerySet:
    nodes = Node.objects.with_load().order_by("kind", "hostname", "pid")
    if kinds:
        nodes = nodes.filter(kind__in=kinds)
    if local:
        nodes = nodes.filter(hostname=socket.gethostname())
    return nodes if every else nodes.filter(state=NodeState.ALIVE)


def _reports(nodes: NodeQuerySet) -> Iterator[NodeReport]:
    annotated: Iterable[Any] = nodes.annotate(now=Now())
    for node in annotated:
        seconds = (node.now - node.renewed_at).total_seconds()
        yield NodeReport(
            id=node.pk,
            host=node.hostname,
            pid=node.pid,
            kind=node.kind,
            server=node.server,
            state=node.state,
            started_at=node.started_at,
            seconds_since_renewal=round(seconds, 3),
            is_live=node.state == NodeState.ALIVE and seconds <= app_settings.NODE_TTL,
            open_sessions=node.open_sessions,
            held_clients=node.held_clients,
            stuck_callbacks=node.stuck_callbacks,
            waiting_callbacks=node.waiting_callbacks,
        )


def _problems(nodes: Collection[NodeReport], kinds: Collection[str], local: bool) -> Iterator[str]:
    for node in nodes:
        if node.is_overdue:
            yield (
                f"The {node.kind} {node.address} counts as alive and hasn't renewed its lease for"
                f" {node.seconds_since_renewal:.0f} s (NODE_TTL: {app_settings.NODE_TTL:g} s)."
            )
        if node.is_live and node.stuck_callbacks:
            yield (
                f"On the {node.kind} {node.address} callbacks still run although their session "
                f"has ended: {node.stuck_callbacks}. Its log and events name their handlers."
            )
        if node.is_live and node.waiting_callbacks:
            yield (
                f"On the {node.kind} {node.address} sync callbacks have no free thread, and "
                f"callbacks wait: {node.waiting_callbacks}. Its log and events name the handlers."
            )
    live = {node.kind for node in nodes if node.is_live}
    where = " on this host" if local else ""
    for kind in sorted(set(kinds) - live):
        yield f"No {kind} is alive{where}."
    anywhere = not kinds and not local
    if anywhere and NodeKind.RUNNER not in live and Client.objects.desired_to_run().exists():
        yield f"Clients should run and no runner is alive: {START_A_RUNNER}."


def _cells(node: NodeReport) -> tuple[str, ...]:
    is_runner = node.kind == NodeKind.RUNNER
    holds = f"clients: {node.held_clients}" if is_runner else f"sessions: {node.open_sessions}"
    renewed = f"renewed {node.seconds_since_renewal:.1f} s ago"
    return node.address, node.kind, node.state, renewed, holds
