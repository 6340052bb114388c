"""The keeper of one client: attempt, connection, verdict, rest, and again.

One task for each client, so that no client waits for another. Its state is written as it goes.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final, NamedTuple

from django.db import DatabaseError, InterfaceError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from ..core import policy
from ..core.policy import Outcome, Streak
from ..core.states import ClientState, EventKind, Failure
from ..exceptions import WebsocketsError
from ..models.outbox import Claimed
from ..node.node import Node
from ..recording.facts import moment
from ..redaction import get_logger
from .config import ClientConfig, with_handler
from .connection import Connection
from .dialling import Dialler
from .errand import CalledOff, Errand
from .leases import Hold, Leases
from .outbox import Outbox
from .outcomes import Ending, outcome_of_failure
from .parting import (
    CHANGED,
    CLOSED_BY_OPERATOR,
    FAILURE,
    LEASE_LOST,
    STOPPED,
    Parting,
    at_the_end,
    by_code,
)
from .sender import Sender
from .telling import Teller

logger = get_logger(__name__)

SETTLE_SECONDS: Final = 5.0
"""How long the database may take to hear what a client that is let go has left unsent."""
_EXPECTED: Final = (OSError, WebSocketException, WebsocketsError)


class Means(NamedTuple):
    """What the keepers of a runner share."""

    node: Node
    dialler: Dialler
    leases: Leases
    outbox: Outbox


class Keeper:
    """Keeps one client connected for as long as this runner holds it."""

    def __init__(self, means: Means, hold: Hold, config: ClientConfig) -> None:
        self.hold = hold
        self.config = config
        self.parting: Parting | None = None
        self.closed_under: ClientConfig | None = None
        """What its row said when it was closed for good: until that changes, nobody reopens it."""
        self._node, self._dialler, self._leases, self._outbox = means
        self._teller = Teller(self._node, self._leases, hold, lambda: self.config)
        self._sender = Sender(
            self._outbox,
            hold,
            config.name,
            on_closed=self._closed_by_code,
            on_doubt=self._teller.doubt,
        )
        self._streak = Streak()
        self._errand = Errand()
        self._connection: Connection | None = None
        self._afresh = False

    # Its life

    async def run(self) -> None:
        """Go on until it is parted with."""
        self._outbox.add(self._sender)
        try:
            while self.parting is None:
                await self._round()
        finally:
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._outbox.remove(self._sender)
            except (DatabaseError, InterfaceError, TimeoutError):
                logger.exception(
                    "Client %s leaves its outbox to its next runner", self.config.name
                )
            finally:
                self._let_go(FAILURE if self.parting is None else self.parting)

    async def _round(self) -> None:
        """Make one attempt, live with what it opened, and rest as long as that deserves."""
        self._afresh = False
        try:
            outcome = await self._attempt_or_failure()
            if self.parting is not None or self._afresh:
                return
            if self.config.ephemeral:
                self._end_with(outcome)
            else:
                await self._rest(outcome)
        except CalledOff:
            pass  # the loop knows why

    async def _attempt_or_failure(self) -> Outcome:
        """Make one attempt; after an error of our own, too, the client rests before the next."""
        try:
            return await self._attempt()
        except CalledOff:
            raise
        except Exception as error:
            logger.exception(
                "Client %s can't go on", self.config.name, extra=self._teller.log_extra()
            )
            return Outcome(reason=f"the runner failed with {type(error).__name__}: {error}")

    async def _attempt(self) -> Outcome:
        self._connection = None
        self._teller.tell(
            ClientState.CONNECTING,
            self.config.shown_uri,
            attempt=self._streak.failures + 1,
            next_attempt_at=None,
        )
        if self.config.problem:  # which may have gone without a change of the row
            self.config = await self._node.descriptors.run(with_handler, self.config)
        if self.config.handler is None:
            self._teller.problem()
            return Outcome(reason=self.config.problem, failure=Failure.HANDLER, hopeless=True)
        return await self._connect()

    async def _connect(self) -> Outcome:
        connection = self._connection = Connection(
            self._node, self.config, on_ready=self._ready, on_ending=self._ended
        )
        self._teller.begin(connection)
        connection.attempt()
        opened = await self._dial(connection)
        if isinstance(opened, Outcome):
            await connection.fail(opened.reason)
            return opened
        return await self._live(connection, opened)

    async def _dial(self, connection: Connection) -> ClientConnection | Outcome:
        config = connection.config
        try:
            return await self._errand.run(self._dialler.dial(config))
        except CalledOff:
            connection.record.event(EventKind.ERROR, detail="the attempt was called off")
            raise
        except Exception as error:
            if not isinstance(error, _EXPECTED):
                logger.exception(
                    "Client %s can't connect", config.name, extra=self._teller.log_extra()
                )
            return outcome_of_failure(error, config)

    async def _live(self, connection: Connection, socket: ClientConnection) -> Outcome:
        self._teller.tell(
            ClientState.OPEN,
            "",
            opened_at=moment(time.time()),
            ready_at=None,
            subprotocol=(socket.subprotocol or "")[:100],
            messages_in=0,
            messages_out=0,
        )
        return await connection.run(socket)

    async def _rest(self, outcome: Outcome) -> None:
        """Wait as long as the policy says, where anybody can see until when."""
        verdict = policy.after(outcome, self._streak, self.config.backoff, random.uniform)
        self._streak = verdict.streak
        self._teller.tell(
            verdict.state,
            outcome.reason,
            attempt=verdict.streak.failures,
            failure=outcome.failure,
            next_attempt_at=moment(time.time() + verdict.delay),
            opened_at=None,
            ready_at=None,
            connection_id="",
        )
        if self._connection is not None:
            self._connection.record.attempted(EventKind.RECONNECT, f"in {verdict.delay:.1f} s")
        await self._errand.run(asyncio.sleep(verdict.delay))

    def _end_with(self, outcome: Outcome) -> None:
        """End an ephemeral client, which was this one attempt."""
        self._leases.put(self.hold, failure=outcome.failure)
        self.parting = at_the_end(outcome)

    def _let_go(self, parting: Parting) -> None:
        if parting is LEASE_LOST:
            self._leases.forget(self.hold)
            logger.warning("Client %s: %s", self.config.name, parting.reason)
            return
        if self.config.ephemeral:  # whether it was ever ready, who waits for it may ask
            self._leases.put(self.hold, ended_at=moment(time.time()))
        else:
            self._leases.put(self.hold, ready_at=None)
        self._teller.tell(
            parting.state,
            parting.reason,
            next_attempt_at=None,
            opened_at=None,
            connection_id="",
        )
        self._leases.release(self.hold)

    # What others ask of it

    def part(self, parting: Parting) -> None:
        """Close what is open and end; the first reason given is the one that counts."""
        soon_by_code = parting is STOPPED and self._sender.closing
        if self.parting is None and not soon_by_code:
            self.parting = parting
            self._break_off(parting)

    def reconnect(self, config: ClientConfig) -> None:
        """Connect anew, now, as the changed row says; an ephemeral client ends."""
        asked = config.generation != self.config.generation
        why = CLOSED_BY_OPERATOR if asked else CHANGED
        if config.ephemeral:
            self.part(why)
            return
        self._start_afresh(config)
        self._break_off(why)

    def update(self, config: ClientConfig) -> None:
        """Go on under a changed row: an open connection from its next message."""
        if self._teller.state in {ClientState.BACKOFF, ClientState.FAILED}:
            self._start_afresh(config)
            self._errand.call_off()
            return
        self.config = config
        if config.problem:
            self._teller.problem()
        if self._connection is not None and self._connection.ending is None:
            self._connection.changed(config)

    def touch(self, config: ClientConfig) -> None:
        """Take over a saved row of which a connection notices nothing; try again what failed."""
        if self.config is config:
            return
        if self._teller.state == ClientState.FAILED:
            self._start_afresh(config)
            self._errand.call_off()
        self.config = config

    def count(self) -> None:
        """Let the counters of the connection be written where they changed."""
        self._teller.count()

    # Steps

    def _start_afresh(self, config: ClientConfig) -> None:
        self.config = config
        self._streak = Streak()
        self._afresh = True

    def _break_off(self, why: Parting) -> None:
        self._errand.call_off()
        if self._connection is not None and not self._connection.closed:
            self._node.own(self._close_connection(self._connection, why))

    async def _close_connection(self, connection: Connection, why: Parting) -> None:
        """Close once the messages that are claimed have gone out, where they still may."""
        if why is not LEASE_LOST:
            await self._sender.finish()
        await connection.aclose(why.code, why.close_reason, why.cause)

    def _ready(self, connection: Connection, socket: ClientConnection) -> None:
        """Send what waits, now that `on_open` has run and its answer was written."""
        self._leases.put(self.hold, ready_at=moment(time.time()), failure="")
        self._node.own(self._sender.run(connection, socket))

    def _ended(self, ending: Ending) -> None:
        """Take note of the connection's end; its handler may still run."""
        self._sender.stop()
        self.count()
        self._teller.tell(ClientState.CLOSING, ending.words, opened_at=None)

    def _closed_by_code(self, message: Claimed) -> None:
        """End as the client's code asked for, after the messages that it sent before."""
        self.closed_under = self.config
        self.part(by_code(message))
