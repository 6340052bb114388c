"""The admin shows the problems that nodes report, not what its own process imports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone

from tests.admin.pages import form_data, told, url
from websockets_app.models import Client, Endpoint, LoadError, Node

MakeNode = Callable[..., Node]
WriteHandler = Callable[[str, str], str]

KINDS = [(Endpoint, "server"), (Client, "runner")]
HERE = "In this process:"


def make_row(model: type[Any], handler: str) -> Any:
    if model is Endpoint:
        return Endpoint.objects.create(endpoint="feed", handler=handler)
    return Client.objects.create(name="feed", uri="wss://example.com/", handler=handler)


def report(row: Any, node: Node, problem: str, **columns: Any) -> None:
    LoadError.objects.create(
        node=node, problem=problem, since=timezone.now(), attempts=7,
        **{row._meta.model_name: row, "next_attempt_at": timezone.now(), **columns},
    )  # fmt: skip


def pages(browser: Browser, row: Any) -> tuple[str, str]:
    """Return the list and the page of the row."""
    model = type(row)
    found = (url(model, "changelist"), url(model, "change", row.pk))
    texts = [browser.get(page).content.decode() for page in found]
    return texts[0], texts[1]


@pytest.mark.parametrize(("model", "kind"), KINDS)
def test_each_live_node_says_what_it_could_not_load(
    admin_client: Browser, make_node: MakeNode, model: type[Any], kind: str
) -> None:
    row = make_row(model, "handlers.echo")
    nodes = [make_node(kind=kind) for _ in range(3)]
    for node in nodes[:2]:
        report(row, node, "the broker <is> away")
    report(row, make_node(kind=kind, state="lost"), "of a lost node")
    stale = timezone.now() - timedelta(minutes=5)
    report(row, make_node(kind=kind, renewed_at=stale), "of a dead node")
    report(row, nodes[2], "its headers are wrong", next_attempt_at=None)
    shown, page = pages(admin_client, row)
    assert "the broker &lt;is&gt; away</span> <small>on 2 processes" in shown
    assert "its headers are wrong</span> <small>on 1 process<" in shown
    for node in nodes:
        assert url(Node, "change", node.pk) in page
    assert "attempts: 7, the next at" in page
    assert "only a change of the row helps" in page
    assert "of a lost node" not in shown + page
    assert "of a dead node" not in shown + page


@pytest.mark.parametrize(("model", "kind"), KINDS)
def test_a_problem_of_this_process_is_shown_as_such_and_only_while_no_node_is_alive(
    admin_client: Browser,
    make_node: MakeNode,
    write_handler: WriteHandler,
    model: type[Any],
    kind: str,
) -> None:
    row = make_row(model, write_handler("broken", "raise LookupError('only here')"))
    for page in pages(admin_client, row):
        assert HERE in page
        assert "only here" in page
    make_node(kind=kind)
    for page in pages(admin_client, row):
        assert "only here" not in page


@pytest.mark.parametrize("node_is_alive", [False, True])
def test_saving_warns_of_this_process_only_while_no_node_is_alive(
    admin_client: Browser, make_node: MakeNode, write_handler: WriteHandler, node_is_alive: bool
) -> None:
    row = make_row(Endpoint, write_handler("broken", "raise LookupError('only here')"))
    if node_is_alive:
        make_node()
    page = url(Endpoint, "change", row.pk)
    response = admin_client.post(page, form_data(admin_client.get(page)))
    assert response.status_code == 302
    assert any("only here" in message for message in told(response)) is not node_is_alive


@pytest.mark.parametrize("model", [Endpoint, Client])
def test_all_problems_cost_one_query(
    admin_client: Browser,
    make_node: MakeNode,
    model: type[Any],
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    node = make_node(kind=dict(KINDS)[model])
    for number in range(20):
        row = make_row(model, "handlers.echo")
        type(row).objects.filter(pk=row.pk).update(
            **{"endpoint" if model is Endpoint else "name": f"row{number}"}
        )
        report(row, node, "broken")
    with django_assert_max_num_queries(15):
        admin_client.get(url(model, "changelist"))


def test_the_nodes_list_and_page_show_callbacks_that_hang_or_wait(
    admin_client: Browser, make_node: MakeNode
) -> None:
    node = make_node(stuck_callbacks=4711, waiting_callbacks=815)
    for page in (url(Node, "changelist"), url(Node, "change", node.pk)):
        text = admin_client.get(page).content.decode()
        assert "4711" in text.replace(",", "")
        assert "815" in text
