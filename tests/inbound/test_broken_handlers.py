"""An endpoint whose handler failed to load serves as soon as it loads, and says so until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import stop_serving
from websockets_app.models import Endpoint, Event, LoadError, Node
from websockets_app.node import handler_retries, lease

Serve = Callable[..., Any]

ECHO = "def on_message(message): return message\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_retries, "STEP_SECONDS", 0.05)
    monkeypatch.setattr(handler_retries, "BACKOFF", handler_retries.Backoff(base=0.1, ceiling=0.1))
    monkeypatch.setattr("websockets_app.inbound.serving.STEP_SECONDS", 0.05)


async def is_open(path: str) -> bool:
    connection = Connection(path)
    accepted = (await connection.connect())["type"] == "websocket.accept"
    if accepted:
        connection.leave()
    await connection.ended()
    return accepted


async def reported(attempts: int = 1) -> LoadError | None:
    return await LoadError.objects.filter(attempts__gte=attempts).afirst()


async def test_a_corrected_handler_serves_without_a_change_of_its_row(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("broken", "raise ConnectionError('the broker is away')")
    serving = await serve(broken={"handler": reference}, same={"handler": reference})
    assert not await is_open("broken")
    error = await aeventually(lambda: reported(attempts=3))
    endpoint = await Endpoint.objects.aget(endpoint="broken")
    assert await LoadError.objects.filter(node=serving.node.id).acount() == 2
    assert error.endpoint_id is not None
    assert "the broker is away" in error.problem
    assert error.next_attempt_at > error.since
    write_handler("broken", ECHO)
    await aeventually(lambda: is_open("broken"))
    await aeventually(lambda: is_open("same"))
    await aeventually(lambda: not_reported())
    assert await serving.node.recorder.flush()
    problems = Event.objects.filter(kind="problem", endpoint=endpoint)
    assert await problems.acount() == 1  # not one for each attempt


async def not_reported() -> bool:
    return not await LoadError.objects.aexists()


async def test_open_sessions_follow_on_change_when_their_new_handler_loads_at_last(
    serve: Serve, write_handler: WriteHandler
) -> None:
    new = write_handler("new", "raise LookupError('not yet')")
    serving = await serve(echo={"handler": write_handler("old", ECHO)})
    connection = Connection("echo")
    await connection.connect()
    await Endpoint.objects.filter(endpoint="echo").aupdate(handler=new)
    serving.node.hurry("descriptors")
    await aeventually(reported)
    connection.send("old")
    assert (await connection.next())["text"] == "old"
    write_handler("new", "def on_message(message): return 'new'\n# longer than it was before\n")
    await aeventually(not_reported)
    connection.send("old")
    assert (await connection.next())["text"] == "new"
    connection.leave()
    await connection.ended()


async def test_a_flaw_of_the_row_is_reported_and_not_tried_again(serve: Serve) -> None:
    await serve(echo={"handler": "handlers.echo", "origins": {"no": "list"}})
    error = await aeventually(reported)
    assert "origins" in error.problem
    assert error.next_attempt_at is None


@pytest.mark.parametrize("change", ["delete", "disable", "correct"])
async def test_a_report_ends_with_its_reason(
    serve: Serve, write_handler: WriteHandler, change: str
) -> None:
    reference = write_handler("broken", "raise LookupError")
    serving = await serve(broken={"handler": reference})
    await aeventually(reported)
    rows = Endpoint.objects.filter(endpoint="broken")
    if change == "delete":
        await rows.adelete()
    elif change == "disable":
        await rows.aupdate(enabled=False)
    else:
        await rows.aupdate(handler="handlers.echo")
    serving.node.hurry("descriptors")
    await aeventually(not_reported)


async def test_reports_end_with_their_node(serve: Serve, write_handler: WriteHandler) -> None:
    await serve(broken={"handler": write_handler("broken", "raise LookupError")})
    await aeventually(reported)
    await stop_serving()
    assert await not_reported()


async def test_a_node_that_was_taken_for_lost_reports_again(
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(broken={"handler": write_handler("broken", "raise LookupError")})
    await aeventually(reported)
    node = await Node.objects.aget()
    thread = serving.node.control
    while not await thread.run(lease.reap, node.pk, node.beat, by="other"):
        node = await Node.objects.aget()
    await aeventually(reported)
