"""Creating clients: store a row, and wait until its runner has opened it or said why not.

The waiting is a generator that yields how long to pause, and plain and async code only differ in
how they pause: there is one text of it, and each look is a short piece of database work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, TypedDict
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, router, transaction
from django.utils import timezone

from ..conf import app_settings
from ..core.states import ClientState, NodeKind
from ..dispatch.loader import resolve
from ..exceptions import (
    ClientConflict,
    InvalidClient,
    InvalidUri,
    NoRunner,
    WaitInTransaction,
    WebsocketsError,
)
from ..models import Client, ClientRuntime, Node, OutboxMessage
from . import opening
from .handle import WebsocketClient

LOOK_SECONDS: Final = 0.05
"""Between two looks at what the runner has written."""
ABANDONED_SECONDS: Final = 10.0
"""How long after its time a creator that died is still waited for."""


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
        name=name or f"ephemeral-{uuid4().hex}",
        uri=uri,
        handler=resolve(engine, handler),
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
        self._given = given
        self._timeout = timeout  # None: don't wait

    @property
    def handle(self) -> WebsocketClient:
        """The client, once the steps are done."""
        return WebsocketClient.of(self._client)

    def steps(self) -> Generator[float, None, None]:
        """Store the client and wait for it; yields the seconds to pause before the next look."""
        if self._timeout is None:
            self._client = _store(self._client, self._given, None).client
            return
        _refuse_to_wait_in_vain()
        deadline = time.monotonic() + self._timeout
        opened = False
        while not opened:
            self._client.pk = None  # who created it at the same time may have removed it again
            stored = _store(self._client, self._given, self._timeout)
            try:
                opened = yield from self._opening(stored, deadline)
            except BaseException:
                stored.undo()
                raise
            self._client = stored.client

    def _opening(self, stored: _Stored, deadline: float) -> Generator[float, None, bool]:
        """Return once the client is open and its `on_open` has run; False where it has gone."""
        client = stored.client
        while True:
            seen = opening.look(client)
            if seen is None:
                return False
            if seen.has_opened:
                opening.no_longer_awaited(client)
                return True
            if stored.has_failed(seen):
                raise opening.failure_of(client, seen)
            if time.monotonic() >= deadline:
                raise opening.lateness_of(client, seen, self._timeout or 0)
            yield LOOK_SECONDS


def create(creation: Creation) -> WebsocketClient:
    """Go through the steps in this thread."""
    for pause in creation.steps():
        time.sleep(pause)
    return creation.handle


async def acreate(creation: Creation) -> WebsocketClient:
    """Go through the steps without holding up the event loop, or Django's thread in between."""
    steps = creation.steps()
    look = sync_to_async(partial(next, steps, None))
    try:
        while True:
            pause = await look()
            if pause is None:
                return creation.handle
            await asyncio.sleep(pause)
    finally:  # cancelled, it leaves nothing behind either; to close what has ended does nothing
        await asyncio.shield(sync_to_async(steps.close)())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What was done to have the row, so that it can be undone."""

    client: Client
    made: bool = False
    restarted: bool = False
    since: datetime | None = None
    """When an older row's state had last changed."""

    def has_failed(self, seen: opening.Seen) -> bool:
        if self.made:
            return seen.has_failed
        hopeless = seen.state == ClientState.FAILED and not self.restarted
        return hopeless or seen.has_failed_since(self.since)

    def undo(self) -> None:
        row = Client.objects.filter(pk=self.client.pk)
        if self.made:
            row.delete()
        elif self.restarted:
            row.stop()


def _store(client: Client, given: ClientOptions, timeout: float | None) -> _Stored:
    if client.ephemeral:
        return _insert(client, timeout)
    existing = Client.objects.filter(name=client.name).first()
    if existing is None:
        try:
            return _insert(client, timeout)
        except IntegrityError:  # another was faster
            existing = Client.objects.get(name=client.name)
    return _take_up(existing, client, given)


def _insert(client: Client, timeout: float | None) -> _Stored:
    with transaction.atomic(using=_database()):
        client.save(force_insert=True)
        if client.ephemeral and timeout is not None:
            until = timezone.now() + timedelta(seconds=timeout + ABANDONED_SECONDS)
            ClientRuntime.objects.create(client=client, awaited_until=until)
    return _Stored(client=client, made=True)


def _take_up(existing: Client, client: Client, given: ClientOptions) -> _Stored:
    """Run the client of that name, where it is the same."""
    compared = ("uri", "handler", "engine", *given)
    if differing := [
        name for name in compared if getattr(existing, name) != getattr(client, name)
    ]:
        raise ClientConflict(
            f"A client {client.name!r} exists and has another {', '.join(differing)}. Change that "
            "row, delete it, or take another name."
        )
    now = timezone.now()
    closes = OutboxMessage.objects.filter(client=existing, close_code__isnull=False)
    closes.discard(now, "it is wanted open again")
    restarted = Client.objects.filter(pk=existing.pk).run()
    since = ClientRuntime.objects.filter(client=existing).values_list("since", flat=True).first()
    return _Stored(client=existing, restarted=bool(restarted), since=since)


def _refuse_to_wait_in_vain() -> None:
    if connections[_database()].in_atomic_block:
        raise WaitInTransaction(
            "create_websocket() would wait in vain inside a transaction (atomic(), or "
            "ATOMIC_REQUESTS): no runner sees the client before it is committed. Call it outside, "
            "or with wait=False."
        )
    age = Node.objects.freshest(NodeKind.RUNNER)
    if age is None or age.total_seconds() > app_settings.NODE_TTL:
        raise NoRunner(
            "No runner is alive that could connect the client. Start one: "
            "manage.py run_websocket_clients."
        )


def _invalid(error: ValidationError, uri: str) -> WebsocketsError:
    problems = error.message_dict
    if "uri" in problems:
        return InvalidUri(f"{uri!r} can't be a client's URI: {' '.join(problems['uri'])}")
    told = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in problems.items())
    return InvalidClient(f"A client can't be so. {told}")


def _database() -> str:
    return router.db_for_write(Client)
