"""`manage.py drain_websockets`: whom it asks, what it prints, and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings

from websockets_app.inbound import drain_orders
from websockets_app.models import Drain, Endpoint, Node

pytestmark = pytest.mark.django_db

HERE = drain_orders.this_host()


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("drain_websockets", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HEARTBEAT_INTERVAL": 0.02}
    monkeypatch.setattr(drain_orders, "PATIENCE", 0.1)


def node(name: str, host: str = "web1", pid: int = 1, **about: Any) -> None:
    Node.objects.register(name, about.pop("kind", "server"), hostname=host, pid=pid, **about)


def asked() -> list[str]:
    return sorted(Drain.objects.values_list("node_id", flat=True))


def at_each_look(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> list[object]:
    """Let something happen whenever the command looks; return what came of it."""
    look, happened = drain_orders.Orders.progress, list[object]()

    def progress(orders: drain_orders.Orders) -> Any:
        happened.append(happen())
        return look(orders)

    monkeypatch.setattr(drain_orders.Orders, "progress", progress)
    return happened


def nodes_tell(*steps: dict[str, Any]) -> Callable[[], object]:
    """Return what lets every node tell the next of `steps`, and then nothing more."""
    left = iter(steps)
    return lambda: Drain.objects.update(**step) if (step := next(left, None)) else None


def test_without_a_server_there_is_nothing_to_drain() -> None:
    node("runner1", kind="runner")
    assert run("--all") == (0, "Server nodes to drain: 0, over 30 s.\n", "")


def test_it_waits_for_all_and_tells_how_far_they_have_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node("a" * 32)
    node("b" * 32, pid=2)
    steps = (
        {"state": "running", "found": 10},
        {"closed": 4},
        {"closed": 9, "gone": 1, "state": "done"},
    )
    at_each_look(monkeypatch, nodes_tell(*steps))
    status, out, err = run("--all", "--over", "1.5")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "Server nodes to drain: 2, over 1.5 s.",
        "Closed: 0 of 20; nodes that have begun: 2 of 2",
        "Closed: 8 of 20; nodes that have begun: 2 of 2",
        "web1:1  done  closed: 9 of 10  gone by themselves: 1",
        "web1:2  done  closed: 9 of 10  gone by themselves: 1",
    ]


def test_what_is_given_goes_into_the_orders() -> None:
    node("a" * 32)
    Endpoint.objects.create(endpoint="room", handler="handlers.echo")
    arguments = "--all --over=5 --keep-out=60 --endpoint=room --code=4321 --reason=later --no-wait"
    assert run(*arguments.split())[0] == 0
    drain = Drain.objects.get()
    assert (drain.seconds, drain.keep_out, drain.endpoints) == (5.0, 60.0, ["room"])
    assert (drain.code, drain.reason, drain.state) == (4321, "later", "asked")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--all"], ["aaaa1111", "aaaa2222", "cccc3333"]),
        (["--node", "aaaa1"], ["aaaa1111"]),
        (["--node", f"{HERE}:3", "--node", "aaaa2222"], ["aaaa2222", "cccc3333"]),
        (["--host", "web1"], ["aaaa1111", "aaaa2222"]),
        (["--local"], ["cccc3333"]),
    ],
)
def test_nodes_are_all_or_those_that_are_meant(arguments: list[str], names: list[str]) -> None:
    node("aaaa1111")
    node("aaaa2222", pid=2)
    node("cccc3333", host=HERE, pid=3)
    node("dddd4444")
    Node.objects.stop("dddd4444")
    assert run("--no-wait", *arguments)[0] == 0
    assert asked() == names


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--node", "web9:1"], "No living server node is 'web9:1'"),
        (["--node", "aaaa"], "'aaaa' may be any of aaaa1111, aaaa2222"),
        (["--node", ""], "No living server node is ''"),
        (["--endpoint", "nowhere"], "No endpoint is 'nowhere'"),
        (["--node", "x", "--local"], "not allowed with"),
        (["--all", "--local"], "not allowed with"),
        ([], "Say what to drain: --all"),
        (["--over", "600", "--no-wait"], "Say what to drain: --all"),
        (["--over", "-1"], "no number of seconds from 0"),
        (["--over", "nan"], "no number of seconds from 0"),
        (["--code", "1005"], "1005 may not be sent"),
        (["--reason", "é" * 62], "123 bytes at most"),
    ],
)
def test_what_is_wrong_is_told_before_anybody_is_asked(arguments: list[str], told: str) -> None:
    node("aaaa1111")
    node("aaaa2222", pid=2)
    with pytest.raises(CommandError, match=told):
        run(*arguments)
    assert asked() == []


@pytest.mark.parametrize(
    ("node_state", "state", "told"),
    [("stopped", "stopped", ""), ("lost", "lost", "web1:1"), ("alive", "asked", "web1:1")],
)
def test_a_node_that_does_not_do_it_is_named_unless_it_stops(
    monkeypatch: pytest.MonkeyPatch, node_state: str, state: str, told: str
) -> None:
    node("a" * 32)
    seen = at_each_look(monkeypatch, lambda: Node.objects.update(state=node_state))
    out, failure = io.StringIO(), ""
    try:
        call_command(
            "drain_websockets", "--all", "--over=0", "--json", stdout=out, stderr=io.StringIO()
        )
    except CommandError as error:
        failure = str(error)
    assert seen
    assert failure == (f"Not drained: {told}." if told else "")
    assert [each["state"] for each in json.loads(out.getvalue())] == [state]


def test_a_drain_that_another_one_replaced_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    node("a" * 32)
    at_each_look(monkeypatch, lambda: Drain.objects.ask(["a" * 32], seconds=1.0))
    with pytest.raises(CommandError, match="Not drained: web1:1"):
        run("--all", "--over=0")


def test_ctrl_c_cancels_and_tells_what_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    node("a" * 32)
    with monkeypatch.context() as patch:
        at_each_look(patch, nodes_tell({"state": "running", "found": 10, "closed": 3}))
        patch.setattr("time.sleep", interrupt)
        status, out, err = run("--all")
    assert status == 130
    assert "cancelled  closed: 3 of 10" in out
    assert err == "Cancelled: whoever is still connected stays.\n"
    assert Drain.objects.get().state == "cancelled"


def test_a_drain_of_before_can_be_cancelled() -> None:
    node("aaaa1111")
    node("bbbb2222", pid=2)
    run("--all", "--no-wait")
    assert run("--cancel", "--node", "web1:2")[1] == "Drains cancelled: 1.\n"
    assert dict(Drain.objects.values_list("node_id", "state")) == {
        "aaaa1111": "asked", "bbbb2222": "cancelled",
    }  # fmt: skip
    assert run("--cancel")[1] == "Drains cancelled: 1.\n"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_for_a_while_is_told_of_and_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node("a" * 32)
    fails = iter([True, True])

    def recover() -> None:
        if next(fails, False):
            raise OperationalError("connection refused")
        Drain.objects.update(state="done")

    at_each_look(monkeypatch, recover)
    status, out, _ = run("--all", "--over=1")
    assert status == 0
    assert out.count("The database doesn't answer: connection refused") == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    node("a" * 32)

    def away() -> None:
        raise OperationalError("connection refused")

    at_each_look(monkeypatch, away)
    with pytest.raises(CommandError, match="Not drained: web1:1"):
        run("--all", "--over=0")


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt
