"""Admission: everybody who may refuse a handshake is asked before it is accepted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError

from ..core.close_codes import may_be_sent
from ..exceptions import MayOpenFailed
from ..node.node import Node
from . import access, origins
from .access import Refusal
from .config import EndpointConfig
from .registry import Match
from .session import InboundSession, Receive, Send

logger = logging.getLogger(__name__)


async def admit(
    node: Node, scope: Mapping[str, Any], receive: Receive, send: Send, match: Match
) -> InboundSession | Refusal:
    """Return the session that may open, or why it may not.

    Asked in this order: the node, the endpoint's handler, the origin, the user, `may_open`.
    """
    config, headers = match.config, _headers(scope)
    if node.draining:
        return access.DRAINING
    if config.handler is None:
        return access.broken(config.problem)
    if reason := origins.refusal(scope, headers, config):
        return access.forbidden(reason)
    user = await _user(node, scope, headers, config)
    if isinstance(user, Refusal):
        return user
    session = InboundSession(node, config, scope, receive, send, params=match.params, user=user)
    session.subprotocol = _negotiate(config.subprotocols, scope.get("subprotocols", ()))
    return await _may_open(session) or session


async def _user(
    node: Node, scope: Mapping[str, Any], headers: Mapping[str, str], config: EndpointConfig
) -> Any | Refusal:
    """Return the user, or why the row refuses them: one hop to a thread, none for nobody."""
    known, key = scope.get("user"), access.session_key(headers)
    if known is None and key is None:
        anonymous = AnonymousUser()
        return access.who_is_refused(anonymous, config) or anonymous

    def look() -> Any | Refusal:
        user = access.load_user(key or "") if known is None else known
        return access.who_is_refused(user, config) or user

    try:
        return await node.pool.run(look)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("No user can be known: %s", error, extra={"endpoint": config.endpoint})
        return access.AWAY if config.needs_user else AnonymousUser()


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


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers by name. HTTP/2 may split the cookies over several (RFC 9113 §8.2.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}; {value}" if name == "cookie" in headers else value
    return headers


def _negotiate(preferred: tuple[str, ...], offered: list[str]) -> str | None:
    """Return the first of the row's subprotocols that the peer offers (RFC 6455 §4.2.2)."""
    return next((name for name in preferred if name in offered), None)
