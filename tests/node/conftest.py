"""Fixtures for tests of nodes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import NodeKind
from websockets_app.database import DatabaseThread
from websockets_app.node.node import Node

MakeNode = Callable[[], Node]


@pytest.fixture
def thread(transactional_db: None) -> Iterator[DatabaseThread]:
    """A database thread of the test's own."""
    made = DatabaseThread("test")
    yield made
    made.stop()


@pytest.fixture
async def make_node(transactional_db: None) -> AsyncIterator[MakeNode]:
    """Make nodes; those that the test doesn't stop are stopped in the end."""
    made: list[Node] = []

    def make(kind: NodeKind = NodeKind.SERVER) -> Node:
        made.append(Node(kind))
        return made[-1]

    yield make
    for node in made:
        if node.draining:
            node.close()
        else:
            await node.stop()
    await aeventually(lambda: not any(threads_of(node) for node in made))


def threads_of(node: Node) -> list[threading.Thread]:
    """Return the database threads of a node that still run."""
    made = (node.control, node.descriptors, node.recorder._thread)
    return [t for thread in made if (t := thread._thread) is not None and t.is_alive()]
