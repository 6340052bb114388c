"""Of a drain two write, and the row count decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from websockets_app.core.states import NodeKind
from websockets_app.models import Drain, Node

pytestmark = pytest.mark.django_db

ORDER: dict[str, Any] = {"seconds": 2.0}


@pytest.fixture(autouse=True)
def _nodes() -> None:
    for name in "ab":
        Node.objects.register(name, NodeKind.SERVER, hostname="host", pid=1)


def test_a_node_takes_what_it_was_asked_for_once() -> None:
    key, other = Drain.objects.ask("ab", **ORDER)
    taken = Drain.objects.take("a", after=0)
    assert taken is not None
    assert (taken.pk, taken.seconds, taken.code) == (key, 2.0, 1012)
    assert Drain.objects.get(pk=key).state == "running"
    assert Drain.objects.get(pk=other).state == "asked"
    assert Drain.objects.take("a", after=key) is None


def test_a_node_that_never_heard_that_it_took_a_drain_takes_it_again() -> None:
    (key,) = Drain.objects.ask("a", **ORDER)
    assert Drain.objects.take("a", after=0)
    assert Drain.objects.take("a", after=0)
    assert Drain.objects.take("a", after=key) is None


def test_a_newer_drain_replaces_the_older_one() -> None:
    (older,) = Drain.objects.ask("a", **ORDER)
    (newer,) = Drain.objects.ask("a", **ORDER)
    assert not Drain.objects.tell(older, closed=1)
    taken = Drain.objects.take("a", after=older)
    assert taken is not None
    assert taken.pk == newer


def test_a_cancelled_drain_is_not_begun_and_nothing_is_told_of_it() -> None:
    (key,) = Drain.objects.ask("a", **ORDER)
    assert Drain.objects.cancel([key]) == 1
    assert Drain.objects.cancel([key]) == 0
    assert Drain.objects.take("a", after=0) is None
    assert not Drain.objects.tell(key, state="done")
    assert Drain.objects.get().state == "cancelled"


def test_what_was_asked_long_ago_is_not_begun_any_more() -> None:
    (key,) = Drain.objects.ask("a", **ORDER)
    Drain.objects.update(asked_at=timezone.now() - timedelta(seconds=90))
    assert Drain.objects.take("a", after=0) is None
    assert Drain.objects.get(pk=key).state == "asked"


def test_rows_of_nodes_that_ended_do_not_pile_up() -> None:
    Drain.objects.ask("a", **ORDER)
    Node.objects.stop("a")
    Drain.objects.ask("b", **ORDER)
    assert [drain.node_id for drain in Drain.objects.all()] == ["b"]


def test_a_drain_is_about_all_endpoints_or_those_it_names() -> None:
    assert Drain().concerns("echo")
    assert Drain(endpoints=["echo"]).concerns("echo")
    assert not Drain(endpoints=["echo"]).concerns("room")
