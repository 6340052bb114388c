"""What monitoring is told of the nodes."""

from __future__ import annotations

import itertools
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from websockets_app.core.states import CloseCause
from websockets_app.models import Client, ClientRuntime, Node, Session
from websockets_app.node import health

pytestmark = pytest.mark.django_db

STALE = 60.0
numbers = itertools.count(1)


def create(kind: str, age: float = 0.0, **fields: Any) -> Node:
    number = next(numbers)
    renewed_at = timezone.now() - timedelta(seconds=age)
    about = {"hostname": "web", "pid": number, "started_at": renewed_at, **fields}
    return Node.objects.create(id=f"node{number}", kind=kind, renewed_at=renewed_at, **about)


def create_client(**fields: Any) -> Client:
    return Client.objects.create(
        name="feed", uri="wss://example.com/", handler="handlers.printer", **fields
    )


def test_a_site_where_nothing_should_run_is_healthy() -> None:
    create_client(desired="stop")
    found = health.examine()
    assert (found.problems, found.nodes) == ((), ())
    assert found.lines() == ["Healthy: no node is alive, and none is asked for."]


def test_clients_that_should_run_want_a_live_runner() -> None:
    create_client()
    create("server")
    found = health.examine()
    assert found.problems == (
        "Clients should run and no runner is alive: start manage.py run_websocket_clients.",
    )
    create("runner")
    assert not health.examine().problems


def test_a_node_that_counts_as_alive_and_renews_no_lease_is_a_problem() -> None:
    stale = create("server", STALE)
    (problem,) = health.examine().problems
    assert f"The server web:{stale.pid} counts as alive" in problem
    assert "NODE_TTL: 10 s" in problem


def test_a_runner_that_renews_no_lease_runs_no_clients() -> None:
    create_client()
    create("runner", STALE)
    assert len(health.examine().problems) == 2
    assert not health.live_runners()


def test_a_kind_that_is_asked_for_has_to_be_alive() -> None:
    create("server")
    assert not health.examine(["server"]).problems
    assert health.examine(["runner"]).problems == ("No runner is alive.",)
    assert health.examine(["server", "runner", "runner"]).problems == ("No runner is alive.",)


def test_who_asks_for_one_kind_hears_nothing_of_the_others() -> None:
    create_client()
    create("server")
    create("runner", STALE)
    found = health.examine(["server"])
    assert not found.problems
    assert [node.kind for node in found.nodes] == ["server"]


def test_a_host_answers_for_its_own_nodes_alone() -> None:
    create_client()
    create("server", STALE)
    assert not health.examine(local=True).problems
    create("runner")
    (problem,) = health.examine(["runner"], local=True).problems
    assert problem == "No runner is alive on this host."
    create("runner", hostname=socket.gethostname())
    assert not health.examine(["runner"], local=True).problems
    create("server", STALE, hostname=socket.gethostname())
    assert len(health.examine(local=True).problems) == 1


def test_nodes_that_have_ended_are_listed_only_when_asked_for_and_are_no_problem() -> None:
    create("server", STALE, state="stopped")
    create("runner", STALE, state="lost")
    assert not health.examine().nodes
    found = health.examine(every=True)
    assert [node.state for node in found.nodes] == ["lost", "stopped"]
    assert not found.problems


def test_a_line_tells_where_a_node_is_how_it_does_and_what_it_holds() -> None:
    server, runner = create("server"), create("runner", hostname="backstage")
    opened = {"node": server, "endpoint_path": "echo", "opened_at": timezone.now()}
    ended = {"closed_at": timezone.now(), "close_cause": CloseCause.PEER}
    Session.objects.create(id="open", **opened)
    Session.objects.create(id="closed", **opened, **ended)
    ClientRuntime.objects.create(client=create_client(), holder=runner)
    verdict, first, second = health.examine().lines()
    assert verdict == "Healthy: runner nodes: 1, server nodes: 1."
    assert first.split("  ")[0] == f"backstage:{runner.pid}"
    assert first.endswith("s ago  clients: 1")
    assert second.startswith(f"web:{server.pid}")
    assert second.endswith("s ago  sessions: 1")


@pytest.mark.parametrize("column", ["stuck_callbacks", "waiting_callbacks"])
def test_callbacks_that_hang_or_wait_on_a_live_node_are_a_problem(column: str) -> None:
    node = create("server", **{column: 3})
    (problem,) = health.examine().problems
    assert f"the server web:{node.pid}" in problem
    assert ": 3." in problem
    assert health.examine().as_dict()["nodes"][0][column] == 3
    Node.objects.stop(node.pk)
    assert not health.examine(every=True).problems
    node.refresh_from_db()
    assert getattr(node, column) == 0
