"""Admission: everybody who may refuse a handshake is asked before it is accepted."""

from __future__ import annotations

import logging

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError

from ..core.close_codes import may_be_sent
from ..exceptions import MayOpenFailed
from ..node.node import Node
from . import access, logins, origins
from .access import Refusal
from .config import EndpointConfig
from .handshake import Handshake
from .logins import Known
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
    known = await _known(node, handshake, config)
    if isinstance(known, Refusal):
        return known
    user, login = known
    session = InboundSession(node, config, config.handler, handshake, user, receive, send)
    session.login = login
    return await _may_open(session) or session


async def _known(node: Node, handshake: Handshake, config: EndpointConfig) -> Known | Refusal:
    """Return the user, or why the row refuses them: one hop to a thread, none for nobody."""
    scope, key = handshake.scope, logins.session_key(handshake.headers)
    user = scope.get("user")
    if user is None and key is None:
        anonymous = AnonymousUser()
        return access.who_is_refused(anonymous, config) or Known(anonymous, None)

    def look() -> Known | Refusal:
        if user is None:
            known = logins.load_user(key or "")
        else:
            known = logins.with_login(user, scope.get("session"), key)
        return access.who_is_refused(known.user, config) or known

    try:
        return await node.lookups.run(look)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        unexpected = not isinstance(error, (DatabaseError, InterfaceError))
        logger.warning(
            "No user can be known: %s", error,
            exc_info=unexpected, extra={"endpoint": config.endpoint},
        )  # fmt: skip
        return access.AWAY if config.needs_user else Known(AnonymousUser(), None)


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
