"""Admission: everybody who may refuse a handshake is asked before it is accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError

from ..core.circuit_breaker import CircuitBreaker
from ..core.close_codes import may_be_sent
from ..core.states import EventKind
from ..database import again_where_cut
from ..exceptions import MayOpenFailed
from ..node.node import Node
from ..recording.repeats import Occurrence
from ..redaction import get_logger
from . import access, logins, origins, revocation
from .access import Refusal
from .config import EndpointConfig
from .handshake import Handshake
from .limits import Limits
from .logins import Known
from .registry import Registry
from .seats import NOBODY, Taken
from .server import Receive, Send
from .session import InboundSession
from .tenants import tenant_context
from .visitor import Visitor

logger = get_logger(__name__)

T = TypeVar("T")

CHECK_AGAIN_AFTER: Final = 0.1
"""Seconds that `may_open` may take without the user being checked again after it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who comes, and how many of whom they count among are open on other nodes."""

    known: Known
    visitor: Visitor
    elsewhere: Taken = NOBODY


async def admit(
    limits: Limits,
    registry: Registry,
    config: EndpointConfig,
    handshake: Handshake,
    receive: Receive,
    send: Send,
) -> InboundSession | Refusal:
    """Return the session that may open, or why it may not.

    Asked in this order: the node, the endpoint's handler, the origin, the user, the numbers of
    sessions, `may_open`; then origin and user again, if something may have changed since.
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
    try:
        session = InboundSession(
            node, config, config.handler, handshake, arrival.known.user,
            receive, send, limits.rates, arrival.visitor,
        )  # fmt: skip
        session.login = arrival.known.login
        session.on_end.append(seat.leave)
        refusal = await _decide(limits, registry, handshake, session)
    except BaseException:
        seat.leave()
        raise
    if refusal is None:
        return session
    seat.leave()
    return refusal


async def _decide(
    limits: Limits, registry: Registry, handshake: Handshake, session: InboundSession
) -> Refusal | None:
    """Let the handler decide, and check that what was decided before it still holds."""
    asked_at = time.monotonic()
    refusal = await _may_open(session)
    if refusal is None:
        took_long = time.monotonic() - asked_at >= CHECK_AGAIN_AFTER
        refusal = await _check_again(limits, registry, handshake, session, took_long)
    if refusal is None and limits.node.draining:
        # The node may even have stopped by now: nobody would record the session.
        return access.DRAINING
    return refusal


async def _check_again(
    limits: Limits,
    registry: Registry,
    handshake: Handshake,
    session: InboundSession,
    took_long: bool,
) -> Refusal | None:
    """Return why the current row or the user's current state refuses the session, or None.

    This costs a comparison in memory if the row is the same and `may_open` was quick or missing.
    """
    config = registry.get(session.config.id)
    if config is None:
        return access.NOT_FOUND
    if config == session.config and not took_long:
        return None
    if reason := origins.refusal(handshake, config):
        return access.forbidden(reason)
    if not revocation.can_be_revoked(session, config):
        return None
    findings = await _ask(limits, config, partial(revocation.check_again, session, config))
    if findings is None:
        return access.AWAY
    for _, user in findings.users:
        session.user = user
    return findings.refused[0][1] if findings.refused else None


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

    def look() -> Arrival | Refusal:
        with tenant_context(handshake.tenant):
            if given is None:
                known = logins.load_user(key) if key else Known(AnonymousUser(), None)
            else:
                known = logins.with_login(given, scope.get("session"), key)
            if refusal := access.who_is_refused(known.user, config):
                return refusal
            if config.needs_user and known.login is not None and not logins.are_accepted():
                return access.SIGNED_COOKIE
        visitor = Visitor.of(handshake, known.user)
        elsewhere = limits.neighbours.hold(config, visitor) if counts else NOBODY
        return Arrival(known, visitor, elsewhere)

    answer = await _ask(limits, config, look)
    if answer is None and limits.node.draining:
        return access.DRAINING
    return answer or _unanswered(handshake, config)


async def _ask(limits: Limits, config: EndpointConfig, look: Callable[[], T]) -> T | None:
    """Return what `look` finds in one of the node's threads; None if nothing answers."""
    breaker = limits.breakers[config.needs_user]
    deadline = time.monotonic() + breaker.patience

    def look_in_time() -> T:
        if time.monotonic() > deadline:
            # Nobody waits any more: a database that comes back is not asked for all of those.
            raise TimeoutError
        return look()

    try:
        return await _answer(limits.node, breaker, look_in_time)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        if not limits.node.draining:
            _warn_of_unknown_users(limits.node, config, error)
        return None


async def _answer(node: Node, breaker: CircuitBreaker, look: Callable[[], T]) -> T | None:
    """Return what `look` finds in one of the node's threads; None while nobody is to ask."""
    if not breaker.may_ask(node.lease.renewed_at):
        return None
    asked_at = time.monotonic()
    try:
        async with asyncio.timeout(breaker.patience):
            found: T = await node.lookups.run(again_where_cut, look)
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


def _warn_of_unknown_users(node: Node, config: EndpointConfig, error: Exception) -> None:
    example = Occurrence(f"No user can be known: {error}", recorded=False)
    equal_in = f"unknown users: {type(error).__name__}"
    if node.recorder.is_repeat(EventKind.PROBLEM, config.subject, equal_in, lambda: example):
        return
    unexpected = not isinstance(error, (DatabaseError, InterfaceError))
    logger.warning(example.detail, exc_info=unexpected, extra={"endpoint": config.endpoint})


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
