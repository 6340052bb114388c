"""`manage.py websocket_health`: its exit status, and what it prints."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from websockets_app.models import Node
from websockets_app.node import health


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("websocket_health", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.mark.django_db
def test_health_is_status_0_and_a_missing_node_is_status_1() -> None:
    assert run() == (0, "Healthy: no node is alive, and none is asked for.\n")
    assert run("--kind", "runner") == (1, "Unhealthy: No runner is alive.\n")
    now = timezone.now()
    about = {"hostname": "web", "pid": 1, "started_at": now, "renewed_at": now}
    Node.objects.create(id="node", kind="runner", **about)
    assert run("--kind", "runner")[0] == 0
    assert run("--kind", "runner", "--kind", "server")[0] == 1
    assert run("--kind", "runner", "--local")[0] == 1


@pytest.mark.django_db
def test_a_program_gets_json() -> None:
    status, out = run("--json", "--kind=server", "--all")
    assert status == 1
    assert json.loads(out) == {
        "healthy": False, "nodes": [], "problems": ["No server is alive."],
    }  # fmt: skip


def test_a_database_that_is_away_is_status_1_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object) -> None:
        raise OperationalError("connection refused\nIs the server running?")

    monkeypatch.setattr(health, "_reports", away)
    assert run() == (
        1, "Unhealthy: The database doesn't answer: connection refused Is the server running?\n",
    )  # fmt: skip


def test_a_kind_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(CommandError, match=r"choose from .*server.*runner"):
        run("--kind", "client")
