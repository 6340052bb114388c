"""Admission: everybody who may refuse a handshake is asked before it is accepted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError

from ..core.circuit_breaker import CircuitBreaker
from ..core.close_codes import may_be_sent
from ..database import again_where_cut
from ..exceptions import MayOpenFailed
from ..node.node import Node
from . import access, logins, origins
from .access import Refusal
from .config import EndpointConfig
from .handshake import Handshake
from .limits import Limits
from .logins import Known, Login
from .seats import NOBODY, Seat, Taken
from .server import Receive, Send
from .session import InboundSession
from .visitor import Visitor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who comes, and how many of whom they count among are open on other nodes."""

    known: Known
    visitor: Visitor
    elsewhere: Taken = NOBODY


async def admit(
    limits: Limits, config: EndpointConfig, handshake: Handshake, receive: Receive, send: Send
) -> InboundSession | Refusal:
    """Return the session that may open, or why it may not.

    Asked in this order: the node, the endpoint's handler, the origin, the user, the numbers of
    sessions, `may_open`.
    """
    node = limits.node
    if node.draining:
        return access.DRAINING
    if config.handler is None:
        return access.broken(config.problem)
    if reason := origins.refusal(handshake, config):
        return access.forbidden(reason)
    arrival = await _arrival(limits, config, handshake)
    if isinstance(arrival, Refusal):
        return arrival
    seat = limits.seats.take(config, arrival.visitor, arrival.elsewhere)
    if isinstance(seat, Refusal):
        return seat
    make = partial(
        InboundSession, node, config, config.handler, handshake, arrival.known.user,
        receive, send, limits.rates, arrival.visitor,
    )  # fmt: skip
    return await _seated(node, make, arrival.known.login, seat)


async def _seated(
    node: Node, make: Callable[[], InboundSession], login: Login | None, seat: Seat
) -> InboundSession | Refusal:
    """Let the handler decide; the seat is free again as soon as nobody sits there."""
    try:
        session = make()
        session.login = login
        session.on_end.append(seat.leave)
        refusal = await _may_open(session)
    except BaseException:
        seat.leave()
        raise
    if refusal is None and node.draining:  # by now, and may have stopped: nobody would record it
        refusal = access.DRAINING
    if refusal is None:
        return session
    seat.leave()
    return refusal


async def _arrival(
    limits: Limits, config: EndpointConfig, handshake: Handshake
) -> Arrival | Refusal:
    """Return who comes, or why the row refuses them: one hop to a thread, or none."""
    scope, key = handshake.scope, logins.session_key(handshake.headers)
    given = scope.get("user")
    counts = config.counts_sessions and limits.neighbours.exist
    if given is None and key is None and not (counts and not config.needs_user):
        nobody = _nobody(handshake)
        return access.who_is_refused(nobody.known.user, config) or nobody

    breaker = limits.breakers[config.needs_user]
    deadline = time.monotonic() + breaker.patience

    def look() -> Arrival | Refusal:
        if time.monotonic() > deadline:
            # Nobody waits any more: a database that comes back is not asked for all of those.
            raise TimeoutError
        if given is None:
            known = logins.load_user(key) if key else Known(AnonymousUser(), None)
        else:
            known = logins.with_login(given, scope.get("session"), key)
        if refusal := access.who_is_refused(known.user, config):
            return refusal
        visitor = Visitor.of(handshake, known.user)
        elsewhere = limits.neighbours.hold(config, visitor) if counts else NOBODY
        return Arrival(known, visitor, elsewhere)

    try:
        return await _answer(limits.node, breaker, look) or _unanswered(handshake, config)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        if limits.node.draining:
            return access.DRAINING
        unexpected = not isinstance(error, (DatabaseError, InterfaceError))
        logger.warning(
            "No user can be known: %s", error,
            exc_info=unexpected, extra={"endpoint": config.endpoint},
        )  # fmt: skip
        return _unanswered(handshake, config)


async def _answer(
    node: Node, breaker: CircuitBreaker, look: Callable[[], Arrival | Refusal]
) -> Arrival | Refusal | None:
    """Return what `look` finds in one of the node's threads; None while nobody is to ask."""
    if not breaker.may_ask(node.lease.renewed_at):
        return None
    asked_at = time.monotonic()
    try:
        async with asyncio.timeout(breaker.patience):
            found: Arrival | Refusal = await node.lookups.run(again_where_cut, look)
    except (DatabaseError, InterfaceError, TimeoutError):
        breaker.note_failure(asked_at, time.monotonic())
        raise
    except BaseException:
        breaker.note_nothing()
        raise
    breaker.note_answer()
    return found


def _unanswered(handshake: Handshake, config: EndpointConfig) -> Arrival | Refusal:
    """Return who comes as far as it is known while the database doesn't answer."""
    return access.AWAY if config.needs_user else _nobody(handshake)


def _nobody(handshake: Handshake) -> Arrival:
    known = Known(AnonymousUser(), None)
    return Arrival(known, Visitor.of(handshake, known.user))


async def _may_open(session: InboundSession) -> Refusal | None:
    """Ask the handler: True, False, or the close code that tells the peer why."""
    try:
        answer = await session.may_open()
    except MayOpenFailed as error:
        return access.broken(str(error))
    if answer is True:
        return None
    if isinstance(answer, int) and may_be_sent(answer):
        return Refusal(status=403, code=answer, reason=f"may_open answered {answer}")
    return access.forbidden(f"may_open answered {answer!r}")
