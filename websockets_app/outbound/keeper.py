"""The keeper of one client: attempt, connection, verdict, rest, and again.

One task for each client, so that no client waits for another. Its state is written as it goes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from ..core import policy
from ..core.close_codes import CloseCode
from ..core.policy import Outcome, Streak
from ..core.states import ClientState, CloseCause, EventKind, check_client_transition
from ..core.text import tame
from ..exceptions import WebsocketsError
from ..node.node import Node
from ..recording.facts import moment
from .config import ClientConfig, with_handler
from .connection import Connection
from .dialling import Dialler
from .errand import CalledOff, Errand
from .leases import Hold, Leases
from .outcomes import Ending, outcome_of_failure

logger = logging.getLogger(__name__)

_EXPECTED: Final = (OSError, WebSocketException, WebsocketsError)
_REASON_LIMIT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Why a runner lets go of a client, and the state that it leaves behind."""

    state: ClientState
    reason: str
    code: CloseCode
    cause: CloseCause


STOPPED: Final = Parting(
    state=ClientState.STOPPED,
    reason="stopped in its row",
    code=CloseCode.NORMAL,
    cause=CloseCause.CONFIG,
)
RUNNER_STOPS: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="its runner was stopped",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.SHUTDOWN,
)
LEASE_LOST: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="another runner may have it",
    code=CloseCode.GOING_AWAY,
    cause=CloseCause.LEASE_LOST,
)
_FAILURE: Final = Parting(
    state=ClientState.UNASSIGNED,
    reason="its runner could not go on with it; see the runner's log",
    code=CloseCode.INTERNAL_ERROR,
    cause=CloseCause.TRANSPORT,
)


class Keeper:
    """Keeps one client connected for as long as this runner holds it."""

    def __init__(
        self, node: Node, dialler: Dialler, leases: Leases, hold: Hold, config: ClientConfig
    ) -> None:
        self.hold = hold
        self.config = config
        self.parting: Parting | None = None
        self.state = ClientState.UNASSIGNED
        self._node = node
        self._dialler = dialler
        self._leases = leases
        self._streak = Streak()
        self._errand = Errand()
        self._connection: Connection | None = None
        self._afresh = False
        self._counted = (0, 0)

    # Its life

    async def run(self) -> None:
        """Go on until it is parted with."""
        try:
            while self.parting is None:
                await self._round()
        finally:
            self._let_go(_FAILURE if self.parting is None else self.parting)

    async def _round(self) -> None:
        """Make one attempt, live with what it opened, and rest as long as that deserves."""
        self._afresh = False
        try:
            outcome = await self._attempt_or_failure()
            if self.parting is None and not self._afresh:
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
            logger.exception("Client %s can't go on", self.config.name, extra=self._log_extra())
            return Outcome(reason=f"the runner failed with {type(error).__name__}: {error}")

    async def _attempt(self) -> Outcome:
        self._connection = None
        self._tell(
            ClientState.CONNECTING,
            self.config.shown_uri,
            attempt=self._streak.failures + 1,
            next_attempt_at=None,
        )
        if self.config.problem:  # which may have gone without a change of the row
            self.config = await self._node.descriptors.run(with_handler, self.config)
        if self.config.handler is None:
            self._tell_problem()
            return Outcome(reason=self.config.problem, hopeless=True)
        return await self._connect()

    async def _connect(self) -> Outcome:
        connection = self._connection = Connection(self._node, self.config, self._ended)
        self._counted = (0, 0)
        self._leases.put(self.hold, connection_id=connection.id)
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
                logger.exception("Client %s can't connect", config.name, extra=self._log_extra())
            return outcome_of_failure(error, config)

    async def _live(self, connection: Connection, socket: ClientConnection) -> Outcome:
        self._tell(
            ClientState.OPEN,
            "",
            opened_at=moment(time.time()),
            subprotocol=(socket.subprotocol or "")[:100],
            messages_in=0,
            messages_out=0,
        )
        return await connection.run(socket)

    async def _rest(self, outcome: Outcome) -> None:
        """Wait as long as the policy says, where anybody can see until when."""
        verdict = policy.after(outcome, self._streak, self.config.backoff, random.uniform)
        self._streak = verdict.streak
        self._tell(
            verdict.state,
            outcome.reason,
            attempt=verdict.streak.failures,
            next_attempt_at=moment(time.time() + verdict.delay),
            opened_at=None,
            connection_id="",
        )
        if self._connection is not None:
            self._connection.record.event(EventKind.RECONNECT, detail=f"in {verdict.delay:.1f} s")
        await self._errand.run(asyncio.sleep(verdict.delay))

    def _let_go(self, parting: Parting) -> None:
        if parting is LEASE_LOST:
            self._leases.forget(self.hold)
            logger.warning("Client %s: %s", self.config.name, parting.reason)
            return
        self._tell(
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
        if self.parting is None:
            self.parting = parting
            self._break_off(parting.code, parting.cause)

    def reconnect(self, config: ClientConfig) -> None:
        """Connect anew, now, as the changed row says."""
        self._start_afresh(config)
        self._break_off(CloseCode.GOING_AWAY, CloseCause.CONFIG)

    def update(self, config: ClientConfig) -> None:
        """Go on under a changed row: an open connection from its next message."""
        if self.state in {ClientState.BACKOFF, ClientState.FAILED}:
            self._start_afresh(config)
            self._errand.call_off()
            return
        self.config = config
        if config.problem:
            self._tell_problem()
        if self._connection is not None and self._connection.ending is None:
            self._connection.changed(config)

    def touch(self, config: ClientConfig) -> None:
        """Take over a saved row of which a connection notices nothing; try again what failed."""
        if self.config is config:
            return
        if self.state == ClientState.FAILED:
            self._start_afresh(config)
            self._errand.call_off()
        self.config = config

    def count(self) -> None:
        """Let the counters of the connection be written where they changed."""
        if self._connection is not None:
            record = self._connection.record
            counts = (record.messages_in, record.messages_out)
            if counts != self._counted:
                self._counted = counts
                self._leases.put(self.hold, messages_in=counts[0], messages_out=counts[1])

    # What it tells

    def _start_afresh(self, config: ClientConfig) -> None:
        self.config = config
        self._streak = Streak()
        self._afresh = True

    def _break_off(self, code: CloseCode, cause: CloseCause) -> None:
        self._errand.call_off()
        if self._connection is not None and not self._connection.closed:
            self._node.own(self._connection.aclose(code, "", cause))

    def _ended(self, ending: Ending) -> None:
        """Take note of the connection's end; its handler may still run."""
        self.count()
        self._tell(ClientState.CLOSING, ending.words, opened_at=None)

    def _tell_problem(self) -> None:
        config = self.config
        logger.error("Client %s: %s", config.name, config.problem, extra=self._log_extra())
        self._node.recorder.add_own(EventKind.PROBLEM, config.subject, detail=config.problem)

    def _tell(self, state: ClientState, reason: str, **values: Any) -> None:
        """Change the state, where the state machine allows it, and let that be written."""
        self.state = check_client_transition(self.state, state)
        text = tame(reason, _REASON_LIMIT)
        now = moment(time.time())
        self._leases.put(self.hold, state=state, reason=text, since=now, **values)
        level = logging.WARNING if state == ClientState.FAILED else logging.INFO
        logger.log(
            level, "Client %s: %s%s", self.config.name, state, f": {text}" if text else "",
            extra=self._log_extra(),
        )  # fmt: skip

    def _log_extra(self) -> dict[str, Any]:
        connection = self._connection.id if self._connection else ""
        return {"client": self.config.name, "connection": connection}
