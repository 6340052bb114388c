"""What a runner writes carries holder and epoch; the latest values win; nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.db import OperationalError

from websockets_app.core.states import ClientState
from websockets_app.database import DatabaseThread
from websockets_app.models import Client, ClientRuntime
from websockets_app.outbound import leases as module
from websockets_app.outbound.leases import Hold, Leases


@pytest.fixture
async def thread(transactional_db: None) -> AsyncIterator[DatabaseThread]:
    made = DatabaseThread("test")
    yield made
    made.stop()


class Runner:
    """The leases of a runner, and those that it was told to be lost."""

    def __init__(self, name: str, thread: DatabaseThread) -> None:
        self.lost: list[Hold] = []
        self.leases = Leases(name, thread, self.lost.append)


@pytest.fixture
async def runner(thread: DatabaseThread) -> Runner:
    return Runner("one", thread)


@pytest.fixture
async def client(transactional_db: None) -> Client:
    return await Client.objects.acreate(name="c", uri="ws://example.com/", handler="handlers.echo")


async def runtime() -> ClientRuntime:
    return await ClientRuntime.objects.aget()


async def test_a_client_is_claimed_once(
    runner: Runner, client: Client, thread: DatabaseThread
) -> None:
    (hold,) = await runner.leases.claim([client.pk])
    assert hold == Hold(client.pk, 1)
    assert await Runner("two", thread).leases.claim([client.pk]) == []
    assert await runner.leases.held() == {hold}


async def test_a_claim_whose_answer_was_lost_is_taken_up(runner: Runner, client: Client) -> None:
    first = await runner.leases.claim([client.pk])
    assert await runner.leases.claim([client.pk]) == first


async def test_the_latest_values_win(runner: Runner, client: Client) -> None:
    (hold,) = await runner.leases.claim([client.pk])
    runner.leases.put(hold, state=ClientState.CONNECTING, attempt=1)
    runner.leases.put(hold, state=ClientState.OPEN)
    await runner.leases.flush()
    row = await runtime()
    assert (row.state, row.attempt, row.holder_id) == ("open", 1, "one")


async def test_a_released_client_can_be_claimed_under_a_new_epoch(
    runner: Runner, client: Client, thread: DatabaseThread
) -> None:
    (hold,) = await runner.leases.claim([client.pk])
    runner.leases.put(hold, state=ClientState.STOPPED)
    runner.leases.release(hold)
    assert await runner.leases.claim([client.pk]) == [Hold(client.pk, 2)]
    assert runner.lost == []
    assert (await runtime()).state == "stopped"


async def test_a_write_under_an_old_epoch_hits_nothing_and_is_told(
    runner: Runner, client: Client
) -> None:
    (hold,) = await runner.leases.claim([client.pk])
    await ClientRuntime.objects.aupdate(holder_id="two", epoch=2, state="open")
    runner.leases.put(hold, state=ClientState.BACKOFF)
    await runner.leases.flush()
    assert runner.lost == [hold]
    assert (await runtime()).state == "open"


async def test_a_deleted_client_is_no_lost_lease(runner: Runner, client: Client) -> None:
    (hold,) = await runner.leases.claim([client.pk])
    await client.adelete()
    runner.leases.put(hold, state=ClientState.BACKOFF)
    await runner.leases.flush()
    assert runner.lost == []


async def test_what_the_database_refused_is_written_later(
    runner: Runner, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hold,) = await runner.leases.claim([client.pk])

    def away(*args: object) -> list[Hold]:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", away)
        runner.leases.put(hold, state=ClientState.CONNECTING, reason="old")
        with pytest.raises(OperationalError):
            await runner.leases.flush()
    runner.leases.put(hold, state=ClientState.OPEN)
    await runner.leases.flush()
    row = await runtime()
    assert (row.state, row.reason) == ("open", "old")
