"""Admission: everybody who may refuse a handshake is asked before it is accepted."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError

from ..core.close_codes import may_be_sent
from ..exceptions import MayOpenFailed
from ..node.node import Node
from . import access, origins
from .access import Refusal
from .config import EndpointConfig
from .handshake import Handshake
from .server import Receive, Send
from .session import InboundSession

logger = logging.getLogger(__name__)


async def admit(
    node: Node, config: EndpointConfig, handshake: Handshake, receive: Receive, send: Send
) -> InboundSession | Refusal:
    """Return the session that may open, or why it may not.

    Asked in this order: the node, the endpoint's handler, the origin, the user, `may_open`.
    """
    if node.draining:
        return access.DRAINING
    if config.handler is None:
        return access.broken(config.problem)
    if reason := origins.refusal(handshake, config):
        return access.forbidden(reason)
    user = await _user(node, handshake, config)
    if isinstance(user, Refusal):
        return user
    session = InboundSession(node, config, config.handler, handshake, user, receive, send)
    return await _may_open(session) or session


async def _user(node: Node, handshake: Handshake, config: EndpointConfig) -> Any | Refusal:
    """Return the user, or why the row refuses them: one hop to a thread, none for nobody."""
    known, key = handshake.scope.get("user"), access.session_key(handshake.headers)
    if known is None and key is None:
        anonymous = AnonymousUser()
        return access.who_is_refused(anonymous, config) or anonymous

    def look() -> Any | Refusal:
        user = access.load_user(key or "") if known is None else known
        return access.who_is_refused(user, config) or user

    try:
        return await node.lookups.run(look)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        unexpected = not isinstance(error, (DatabaseError, InterfaceError))
        logger.warning(
            "No user can be known: %s", error,
            exc_info=unexpected, extra={"endpoint": config.endpoint},
        )  # fmt: skip
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
