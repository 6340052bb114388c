"""What people and programs are told of the clients."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from websockets_app.core.table import breadth
from websockets_app.models import Client, ClientRuntime, Node
from websockets_app.outbound import report

pytestmark = pytest.mark.django_db

ANY = 10_000


def create(name: str, *, runtime: dict[str, Any] | None = None, **fields: Any) -> Client:
    row = {"uri": "wss://example.com/", "handler": "handlers.printer", **fields}
    client = Client.objects.create(name=name, **row)
    if runtime is not None:
        ClientRuntime.objects.create(client=client, **runtime)
    return client


def create_runner(age: float = 0.0) -> Node:
    at = timezone.now() - timedelta(seconds=age)
    about = {"hostname": "backstage", "pid": 7, "started_at": at, "renewed_at": at}
    return Node.objects.create(id="runner", kind="runner", **about)


def cells(line: str) -> list[str]:
    return re.split(" {2,}", line)


def test_a_line_tells_the_state_since_when_the_next_attempt_the_runner_and_why() -> None:
    since = timezone.now()
    told = {"since": since, "next_attempt_at": since, "state": "backoff", "reason": "HTTP 502"}
    create("feed", runtime={**told, "holder": create_runner()})
    heading, line = report.look().lines(ANY)
    assert cells(heading) == [
        "NAME", "DESIRED", "STATE", "SINCE", "NEXT ATTEMPT", "RUNNER", "WHY",
    ]  # fmt: skip
    shown = report.shown_time(since)
    assert cells(line) == [
        "feed", "run", "backoff", shown, shown, "backstage:7", "HTTP 502",
    ]  # fmt: skip


def test_a_time_of_another_day_has_its_day() -> None:
    now = timezone.now()
    assert len(report.shown_time(now)) == len("12:00:00")
    assert len(report.shown_time(now - timedelta(days=2))) == len("2026-01-01 12:00:00")
    assert report.shown_time(None) == "–"


def test_words_of_a_peer_neither_break_the_line_nor_reach_the_terminal_raw() -> None:
    create_runner()
    create("evil\x1b[31m", runtime={"state": "backoff", "reason": "\x1b]0;x\x07first\nsecond"})
    _, line = report.look().lines(ANY)
    assert "evil\\x1b[31m" in line
    assert line.endswith("\\x1b]0;x\\x07first")


def test_the_reason_is_cut_at_the_width_of_the_terminal() -> None:
    create_runner()
    create("feed", runtime={"state": "failed", "reason": "no end " * 60, "since": timezone.now()})
    lines = report.look().lines(60)
    assert all(breadth(line) <= 60 for line in lines)
    assert lines[1].endswith(" no end no end …")
    assert "RUNNER" not in lines[0]


def test_a_low_terminal_shows_as_many_as_fit_and_counts_the_others() -> None:
    create_runner()
    for number in range(9):
        create(f"feed{number}")
    lines = report.look().lines(80, 5)
    assert len(lines) == 5
    assert lines[-1] == "… and 6 more"
    assert len(report.look().lines(80, 10)) == 10


def test_a_client_that_lives_as_long_as_its_connection_is_marked() -> None:
    create("once", ephemeral=True)
    assert "once (ephemeral)" in report.look().lines(ANY)[1]


def test_it_is_told_when_no_runner_is_alive_although_clients_should_run() -> None:
    create("feed")
    warning = "No runner is alive: start manage.py run_websocket_clients."
    assert report.look().lines(ANY)[-1] == warning
    create_runner()
    assert warning not in report.look().lines(ANY)


def test_clients_that_should_not_run_need_no_runner() -> None:
    create("feed", desired="stop")
    assert not report.look().warning


def test_what_a_dead_runner_told_is_not_taken_for_the_truth() -> None:
    create("feed", runtime={"state": "open", "holder": create_runner(age=60)})
    found = report.look()
    assert not found.clients[0].runner_is_live
    assert "told by a runner that doesn't renew its lease" in found.lines(ANY)[1]
    assert found.warning


def test_a_runner_whose_row_is_gone_is_told_by_its_id() -> None:
    create("feed", runtime={"state": "open", "holder_id": "gone"})
    (client,) = report.look().clients
    assert (client.runner, client.runner_is_live) == ("gone", False)


def test_a_program_gets_stable_keys_and_no_secrets() -> None:
    create("feed", uri="wss://user:secret1@example.com/x?token=secret2")
    (found,) = report.look().as_list()
    assert set(found) == {
        "id", "name", "uri", "handler", "ephemeral", "desired", "state", "reason", "failure",
        "since", "attempt", "next_attempt_at", "opened_at", "ready_at", "messages_in",
        "messages_out", "runner", "runner_is_live",
    }  # fmt: skip
    assert found["uri"] == "wss://example.com/x?token=…"
    assert (found["state"], found["runner"]) == ("unassigned", None)


def test_a_name_that_no_client_has_is_told_with_those_there_are() -> None:
    assert report.missing(["feed"]) == "No client feed. There are: none."
    for number in range(22):
        create(f"feed{number:02}")
    assert not report.missing(["feed00", "feed21"])
    told = report.missing(["two", "one", "feed01"])
    assert told.startswith("No client one, two. There are: feed00, feed01, ")
    assert told.endswith(", feed19 and 2 more.")


def test_however_many_clients_there_are_two_queries_tell(
    django_assert_num_queries: Any,
) -> None:
    runner = create_runner()
    for number in range(5):
        create(f"feed{number}", runtime={"holder": runner})
    create("unseen")
    with django_assert_num_queries(2):
        report.look().as_list()
