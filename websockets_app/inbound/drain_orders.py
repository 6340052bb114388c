"""Asking nodes to drain, and following how far they come: from any process, by rows alone."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..conf import app_settings
from ..core.states import DrainState, NodeKind, NodeState
from ..core.table import aligned
from ..core.text import tame
from ..models import Drain, Endpoint, Node

SHORTEST_ID: Final = 4
"""How much of a node's id has to be given."""
PATIENCE: Final = 10.0
"""Seconds that nodes may take to begin and to tell the end, beside their heartbeats."""

_FINISHED: Final = {DrainState.DONE, DrainState.CANCELLED}
_REPLACED: Final = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one node has come."""

    node: str
    address: str
    state: str
    """Of the drain; or of the node, where that lives no more; or `replaced` by another drain."""
    found: int = 0
    closed: int = 0
    gone: int = 0

    @property
    def is_over(self) -> bool:
        return self.state not in {DrainState.ASKED, DrainState.RUNNING}

    @property
    def is_done(self) -> bool:
        """Whether it is over in order: a node that stops closes its sessions as well."""
        return self.state in {DrainState.DONE, NodeState.STOPPED}

    def cells(self) -> tuple[str, ...]:
        closed = f"closed: {self.closed} of {self.found}"
        return self.address, self.state, closed, f"gone by themselves: {self.gone}"


@dataclass(frozen=True, slots=True)
class Orders:
    """The drains that were asked for together."""

    nodes: tuple[Node, ...]
    keys: tuple[int, ...]
    seconds: float

    def unseen(self) -> tuple[Progress, ...]:
        """Return what is known before the first look."""
        return tuple(_of(node, DrainState.ASKED) for node in self.nodes)

    def progress(self) -> tuple[Progress, ...]:
        """Look how far each node has come."""
        drains = Drain.objects.in_bulk(self.keys)
        states = dict(Node.objects.filter(pk__in=self._ids()).values_list("pk", "state"))
        return tuple(
            _progress(node, drains.get(key), states.get(node.pk, NodeState.LOST))
            for node, key in zip(self.nodes, self.keys, strict=True)
        )

    def looks(self) -> Iterator[None]:
        """Yield whenever it is time to look, until it is too late for all to be done."""
        deadline = time.monotonic() + self.seconds + PATIENCE + 2 * app_settings.HEARTBEAT_INTERVAL
        pause = min(1.0, app_settings.HEARTBEAT_INTERVAL)
        while time.monotonic() < deadline:
            yield
            time.sleep(pause)

    def cancel(self) -> None:
        """Let the nodes stop, and admit everybody again."""
        Drain.objects.cancel(self.keys)

    def _ids(self) -> list[str]:
        return [node.pk for node in self.nodes]


def ask(nodes: Iterable[Node], **order: Any) -> Orders:
    """Ask `nodes` to drain; `order` has columns of a `Drain`."""
    asked = tuple(nodes)
    keys = Drain.objects.ask([node.pk for node in asked], **order)
    return Orders(asked, tuple(keys), order["seconds"])


def cancel(nodes: Iterable[Node]) -> int:
    """Cancel whatever `nodes` were asked for; return how many drains there were."""
    keys = Drain.objects.filter(node__in=list(nodes)).values_list("pk", flat=True)
    return Drain.objects.cancel(list(keys))


def servers(names: Collection[str] = (), host: str | None = None) -> list[Node]:
    """Return the living server nodes: all, those of `host`, or those that `names` mean."""
    found = Node.objects.filter(state=NodeState.ALIVE, kind=NodeKind.SERVER)
    if host is not None:
        found = found.filter(hostname=host)
    nodes = list(found.order_by("hostname", "pid", "pk"))
    return [node for node in nodes if not names or any(_is(node, name) for name in names)]


def unclear(names: Iterable[str], nodes: Sequence[Node]) -> str:
    """Return what is wrong with `names`, of which each has to mean one of `nodes`."""
    for name in names:
        meant = [node for node in nodes if _is(node, name)]
        if not meant:
            return f"No living server node is {name!r}: see manage.py websocket_health --json."
        if len(meant) > 1:
            return f"{name!r} may be any of {', '.join(node.pk for node in meant)}."
    return ""


def unknown(endpoints: Collection[str]) -> str:
    """Return which of `endpoints` no row has, in words."""
    known = Endpoint.objects.filter(endpoint__in=endpoints).values_list("endpoint", flat=True)
    missing = sorted(set(endpoints) - set(known))
    return f"No endpoint is {', '.join(map(repr, missing))}." if missing else ""


def this_host() -> str:
    """Return the name under which this host's nodes are known."""
    return socket.gethostname()


def summary(progress: Sequence[Progress]) -> str:
    """Return how far all nodes together have come."""
    closed, found = sum(p.closed for p in progress), sum(p.found for p in progress)
    begun = sum(p.state != DrainState.ASKED for p in progress)
    return f"Closed: {closed} of {found}; nodes that have begun: {begun} of {len(progress)}"


def lines(progress: Sequence[Progress]) -> list[str]:
    """Return a line for each node."""
    return aligned(each.cells() for each in progress)


def as_list(progress: Sequence[Progress]) -> list[dict[str, Any]]:
    return [asdict(each) for each in progress]


def _is(node: Node, name: str) -> bool:
    if name == f"{node.hostname}:{node.pid}":
        return True
    return len(name) >= SHORTEST_ID and node.pk.startswith(name)


def _progress(node: Node, drain: Drain | None, node_state: str) -> Progress:
    if drain is None:
        return _of(node, _REPLACED)
    has_ended = node_state != NodeState.ALIVE and drain.state not in _FINISHED
    return _of(
        node, node_state if has_ended else drain.state,
        found=drain.found, closed=drain.closed, gone=drain.gone,
    )  # fmt: skip


def _of(node: Node, state: str, **counts: int) -> Progress:
    address = f"{tame(node.hostname, 64)}:{node.pid}"
    return Progress(node=node.pk, address=address, state=state, **counts)
