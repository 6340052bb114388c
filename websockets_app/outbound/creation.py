"""Creating clients: store a row, and wait until its runner has opened it or said why not.

The waiting is a generator that yields how long to pause, and plain and async code only differ in
how they pause: there is one text of it, and each look is a short piece of database work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import Final, Literal, TypedDict
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError

from ..core.states import Desired
from ..dispatch.loader import resolve_typed
from ..exceptions import InvalidClient, InvalidUri, NoRunner, WaitInTransaction, WebsocketsError
from ..models import Client
from ..node.health import live_runners
from . import opening
from .credentials import redacted
from .handle import WebsocketClient
from .storing import Stored, in_transaction, store

LOOK_SECONDS: Final = 0.05
"""Between two looks at what the runner has written."""


class ClientOptions(TypedDict, total=False):
    """What a client's row may say beside its URI and handler: the fields of `Client`."""

    description: str
    headers: dict[str, str]
    subprotocols: list[str]
    origin: str
    verify_tls: bool
    ca_certificates: str
    proxy: str
    compression: bool
    open_timeout: float
    close_timeout: float
    ping_interval: float
    ping_timeout: float
    max_message_size: int
    on_handler_error: Literal["continue", "close"]
    record_messages: Literal["counters", "rows", "payloads"]
    on_uncertain: Literal["hold", "resend"]
    message_ttl: float | None
    backoff_base: float
    backoff_ceiling: float
    stable_after: float


def described(
    uri: str, handler: str, engine: str, name: str | None, options: ClientOptions
) -> Client:
    """Return the row, not stored yet; raise what is wrong with it."""
    if unknown := set(options) - ClientOptions.__annotations__.keys():
        known = ", ".join(sorted(ClientOptions.__annotations__))
        raise InvalidClient(f"A client has no {', '.join(sorted(unknown))}. It may have {known}.")
    client = Client(
        name=f"ephemeral-{uuid4().hex}" if name is None else name,
        uri=uri,
        handler=resolve_typed(engine, handler),
        engine=engine,
        ephemeral=name is None,
        **options,
    )
    try:
        client.full_clean(validate_unique=False)
    except ValidationError as error:
        raise _invalid(error, uri) from error
    return client


class Creation:
    """The creation of a client, in steps: whoever goes through them pauses in between.

    Leaves nothing behind that was not there before, whatever goes wrong.
    """

    def __init__(self, client: Client, given: ClientOptions, timeout: float | None) -> None:
        self._client = client
        self._given = list(given)
        self._timeout = timeout  # None: don't wait
        self._kept = False

    def steps(self) -> Generator[float | None, None, None]:
        """Store the client and wait for it.

        Yields the seconds to pause before the next look, and None once the client is there to be
        kept. Closed before that, it undoes what it did.
        """
        if self._timeout is not None:
            _refuse_to_wait_in_vain()
        deadline = time.monotonic() + (self._timeout or 0)
        while True:
            stored = store(self._client, self._given, self._timeout)
            if stored is None:
                yield self._pause_until(deadline)
                continue
            try:
                if (yield from self._opening(stored, deadline)):
                    self._client = stored.client
                    yield None
                    return
            except BaseException:
                if not self._kept:
                    stored.undo()
                raise

    def keep(self) -> WebsocketClient:
        """Return the client, which stays."""
        self._kept = True
        return WebsocketClient.of(self._client)

    def _opening(self, stored: Stored, deadline: float) -> Generator[float, None, bool]:
        """Return once the client is open and its `on_open` has run; False where it has gone."""
        while self._timeout is not None:
            seen = opening.look(stored.client)
            if seen is None:
                if not stored.made:
                    return False  # who created it at the same time has removed it again
                raise opening.interruption_of(stored.client, "deleted")
            if _is_open(stored, seen):
                return _keep(stored, seen)
            if time.monotonic() >= deadline:
                raise opening.lateness_of(stored.client, seen, self._timeout)
            yield LOOK_SECONDS
        return True

    def _pause_until(self, deadline: float) -> float:
        if self._timeout is None:
            return 0.0
        if time.monotonic() >= deadline:
            raise opening.slow_end_of(self._client, self._timeout)
        return LOOK_SECONDS


def create(creation: Creation) -> WebsocketClient:
    """Go through the steps in this thread."""
    with closing(creation.steps()) as steps:
        while (pause := next(steps)) is not None:
            time.sleep(pause)
        return creation.keep()


async def acreate(creation: Creation) -> WebsocketClient:
    """Go through the steps without holding up the event loop, or Django's thread in between."""
    steps = creation.steps()
    look = sync_to_async(partial(next, steps))
    try:
        while True:
            pause = await look()
            if pause is None:  # and nothing is awaited from here on: nobody is cancelled any more
                return creation.keep()
            await asyncio.sleep(pause)
    except BaseException:  # cancelled, it leaves nothing behind either
        await asyncio.shield(sync_to_async(steps.close)())
        raise


def _is_open(stored: Stored, seen: opening.Seen) -> bool:
    """Tell whether the client is open; raise why it isn't going to be."""
    client = stored.client
    if seen.has_opened:
        return True
    if stored.has_failed(seen):
        raise opening.failure_of(client, seen)
    if seen.desired == Desired.STOP:
        raise opening.interruption_of(client, "stopped")
    return False


def _keep(stored: Stored, seen: opening.Seen) -> bool:
    """Let the client that has opened stay; False if the call that made or ran it has just failed.

    An ephemeral client that has already ended is removed: no other call waits for it.
    """
    if seen.ended_at is not None:
        Client.objects.filter(pk=stored.client.pk).delete()
        return True
    if not stored.count():
        return False
    if stored.made:
        return True
    now = opening.look(stored.client)
    return now is not None and now.desired == Desired.RUN


def _refuse_to_wait_in_vain() -> None:
    if in_transaction():
        raise WaitInTransaction(
            "create_websocket() would wait in vain inside a transaction (atomic(), "
            "ATOMIC_REQUESTS, or autocommit off): no runner sees the client before it is "
            "committed. Call it outside, or with wait=False."
        )
    if not live_runners():
        raise NoRunner


def _invalid(error: ValidationError, uri: str) -> WebsocketsError:
    problems = error.message_dict
    if "uri" in problems:
        told = " ".join(problems["uri"])
        return InvalidUri(f"{redacted(uri)!r} can't be a client's URI: {told}")
    told = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in problems.items())
    return InvalidClient(f"A client can't be so. {told}")
