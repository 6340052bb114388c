"""The verbs of the query sets: each conditional write hits its row or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from websockets_app.core.states import ClientState, NodeKind
from websockets_app.models import Client, ClientRuntime, Endpoint, Minute, Node, Session
from websockets_app.models.minute import COUNTERS
from websockets_app.recording.facts import moment

pytestmark = pytest.mark.django_db


def register(name: str = "a") -> None:
    Node.objects.register(name, NodeKind.SERVER, hostname="host", pid=1)


def open_session(name: str, node: str = "a", endpoint: Endpoint | None = None) -> Session:
    return Session.objects.create(
        id=name, node_id=node, endpoint=endpoint, endpoint_path="echo", path="/",
        opened_at=timezone.now(),
    )  # fmt: skip


# Nodes


def test_a_registered_node_is_alive_by_the_database_s_clock() -> None:
    register()
    node = Node.objects.get()
    assert (node.state, node.beat) == ("alive", 0)
    assert abs((timezone.now() - node.renewed_at).total_seconds()) < 60
    assert node.started_at == node.renewed_at


def test_a_renewal_moves_the_beat() -> None:
    register()
    assert Node.objects.renew("a")
    assert Node.objects.renew("a")
    assert Node.objects.beats() == {"a": 2}


def test_the_database_s_clock_tells_the_site_s_time_where_rows_keep_no_time_zone(
    settings: Settings,
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/New_York"
    register()
    assert abs((timezone.now() - Node.objects.get().renewed_at).total_seconds()) < 60


@pytest.mark.parametrize("end", [Node.objects.stop, lambda name: Node.objects.reap(name, 0)])
def test_a_node_that_was_ended_can_not_be_renewed(end: Callable[[str], bool]) -> None:
    register()
    assert end("a")
    assert not Node.objects.renew("a")
    assert not end("a")
    assert Node.objects.beats() == {}
    assert Node.objects.get().stopped_at is not None


def test_a_node_that_moved_since_it_was_seen_is_not_reaped() -> None:
    register()
    Node.objects.renew("a")
    assert not Node.objects.reap("a", 0)
    assert Node.objects.reap("a", 1)


def test_a_node_that_lives_takes_its_lease_again_under_a_new_beat() -> None:
    register()
    Node.objects.reap("a", 0)
    assert Node.objects.revive("a")
    assert Node.objects.beats() == {"a": 1}
    assert Node.objects.get().stopped_at is None


def test_a_node_whose_row_is_gone_can_neither_renew_nor_revive() -> None:
    assert not Node.objects.renew("a")
    assert not Node.objects.revive("a")


# Sessions


def test_the_sessions_of_a_lost_node_are_closed_and_no_others() -> None:
    for name, node in (("one", "a"), ("two", "a"), ("other", "b")):
        open_session(name, node)
    at = timezone.now()
    assert Session.objects.close_lost("a", at, 1006) == 2
    assert Session.objects.close_lost("a", at, 1006) == 0
    assert list(Session.objects.open().values_list("pk", flat=True)) == ["other"]
    lost = Session.objects.get(pk="one")
    assert (lost.close_code, lost.close_cause, lost.closed_at) == (1006, "node_lost", at)
    assert not lost.is_open


def test_a_session_that_had_closed_before_keeps_its_own_cause() -> None:
    open_session("one")
    Session.objects.update(closed_at=timezone.now(), close_cause="peer", close_code=1000)
    assert Session.objects.close_lost("a", timezone.now(), 1006) == 0
    assert Session.objects.get().close_cause == "peer"


def test_an_endpoint_counts_its_open_sessions() -> None:
    busy = Endpoint.objects.create(endpoint="busy", handler="handlers.echo")
    Endpoint.objects.create(endpoint="idle", handler="handlers.echo")
    open_session("one", endpoint=busy)
    open_session("two", endpoint=busy)
    Session.objects.filter(pk="two").update(closed_at=timezone.now(), close_cause="peer")
    counted = Endpoint.objects.with_open_sessions().values_list("endpoint", "open_sessions")
    assert dict(counted) == {"busy": 1, "idle": 0}


# Clients


@pytest.fixture
def client_id() -> int:
    client = Client.objects.create(name="c", uri="ws://example.com", handler="handlers.printer")
    ClientRuntime.objects.create(client=client)
    return client.pk


def test_a_client_is_held_by_one_node(client_id: int) -> None:
    assert ClientRuntime.objects.claimable([client_id], timezone.now()) == [client_id]
    assert ClientRuntime.objects.claim(client_id, "a") == 1
    assert ClientRuntime.objects.claim(client_id, "b") is None
    assert ClientRuntime.objects.claimable([client_id], timezone.now()) == []
    assert ClientRuntime.objects.held_by("a") == {client_id: 1}
    assert ClientRuntime.objects.held_by("b") == {}


def test_only_the_holder_writes_and_only_under_its_epoch(client_id: int) -> None:
    epoch = ClientRuntime.objects.claim(client_id, "a")
    assert epoch is not None
    assert ClientRuntime.objects.write(client_id, "a", epoch, state=ClientState.OPEN)
    assert not ClientRuntime.objects.write(client_id, "b", epoch, state=ClientState.FAILED)
    assert not ClientRuntime.objects.write(client_id, "a", epoch - 1, state=ClientState.FAILED)
    assert ClientRuntime.objects.get().state == "open"


def test_a_released_client_can_be_claimed_under_the_next_epoch(client_id: int) -> None:
    epoch = ClientRuntime.objects.claim(client_id, "a")
    assert epoch is not None
    last = {"holder_id": None, "state": ClientState.STOPPED}
    assert ClientRuntime.objects.write(client_id, "a", epoch, **last)
    assert not ClientRuntime.objects.write(client_id, "a", epoch, **last)
    assert ClientRuntime.objects.claim(client_id, "a") == epoch + 1
    assert not ClientRuntime.objects.write(client_id, "a", epoch, state=ClientState.OPEN)


def test_what_a_lost_runner_held_is_released_and_its_late_writes_hit_nothing(
    client_id: int,
) -> None:
    epoch = ClientRuntime.objects.claim(client_id, "a")
    assert epoch is not None
    released = ClientRuntime.objects.release_all_of("a", "its runner was lost", timezone.now())
    assert released == 1
    assert not ClientRuntime.objects.write(client_id, "a", epoch, state=ClientState.OPEN)
    runtime = ClientRuntime.objects.get()
    assert (runtime.state, runtime.reason) == ("unassigned", "its runner was lost")
    assert ClientRuntime.objects.claimable([client_id], timezone.now()) == [client_id]


@pytest.mark.django_db(transaction=True)
def test_of_many_runners_that_claim_at_once_one_holds_the_client(client_id: int) -> None:
    begin, epochs = threading.Barrier(8, timeout=20), []

    def claim(name: str) -> None:
        begin.wait()
        epochs.append(ClientRuntime.objects.claim(client_id, name))
        connection.close()

    threads = [threading.Thread(target=claim, args=[f"node{n}"]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(epochs, key=str) == [1, *[None] * 7]


def test_the_clients_that_should_run_may_be_narrowed_by_name(client_id: int) -> None:
    Client.objects.create(name="stopped", uri="ws://x", handler="h", desired="stop")
    Client.objects.create(name="other", uri="ws://x", handler="h")

    def wanted(names: list[str] | None) -> set[str]:
        return set(Client.objects.desired_to_run(names).values_list("name", flat=True))

    assert wanted(None) == wanted([]) == {"c", "other"}
    assert wanted(["other", "stopped", "unknown"]) == {"other"}


def test_clients_that_no_runner_has_seen_have_no_runtime(client_id: int) -> None:
    fresh = Client.objects.create(name="fresh", uri="ws://x", handler="h")
    assert Client.objects.without_runtime().get() == fresh


# Minutes


def minute(node: str, at: datetime, **counts: int) -> Minute:
    fields: dict[str, Any] = dict.fromkeys(COUNTERS, 0) | counts
    return Minute(node_id=node, direction="in", descriptor=1, minute=at, **fields)


def test_minutes_are_written_over_and_kept_for_each_node() -> None:
    at = moment(datetime(2030, 1, 1, 12, 30, tzinfo=UTC).timestamp())
    Minute.objects.put([minute("a", at, opened=1), minute("b", at, opened=10)])
    Minute.objects.put([minute("a", at, opened=2, bytes_in=2**40)])
    written = Minute.objects.order_by("node").values_list("node", "minute", "opened", "bytes_in")
    assert list(written) == [("a", at, 2, 2**40), ("b", at, 10, 0)]
