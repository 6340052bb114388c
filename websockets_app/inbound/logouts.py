"""Logouts of sites that keep Django sessions in signed cookies.

Only the browser has such a session, so no poll can see that it has ended. The process that logs
the user out tells the others over the channel layer, and the polls of all nodes close what was
opened with the login.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.signed_cookies import SessionStore

from ..exceptions import NodeUnreachable
from ..node import elsewhere, mail
from ..node.channel_layer import spans_processes
from ..node.ended_logins import ended_logins
from ..node.node import nodes
from ..redaction import get_logger
from . import logins

logger = get_logger(__name__)


def connect() -> None:
    """Listen for logins and logouts; called once, when the app is ready."""
    user_logged_in.connect(give_id, dispatch_uid="websockets_app.logouts.login")
    user_logged_out.connect(end_login, dispatch_uid="websockets_app.logouts.logout")


def give_id(request: Any, **kwargs: Any) -> None:
    """Give the login an id, which stays the same while the cookie's value changes."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.setdefault(logins.LOGIN_ID, uuid.uuid4().hex)


def end_login(request: Any, **kwargs: Any) -> None:
    """Let every node close the sessions that were opened with the login that ends."""
    session = getattr(request, "session", None)
    login = logins.login_of(session) if isinstance(session, SessionStore) else None
    if login is None:
        return
    ended_logins.add(login.id)
    if not spans_processes():
        return
    letter = mail.ending_login(login.id)
    here = nodes()
    if here:
        here[0].run_soon(lambda: here[0].own(_atell(letter)))
    else:
        _tell(letter)


def _tell(letter: mail.Mail) -> None:
    try:
        elsewhere.post_to_all(letter)
    except (NodeUnreachable, RuntimeError) as error:  # an event loop runs in this very thread
        _warn(error)


async def _atell(letter: mail.Mail) -> None:
    try:
        await elsewhere.apost_to_all(letter)
    except NodeUnreachable as error:
        _warn(error)


def _warn(error: Exception) -> None:
    logger.warning(
        "A user logged out, and other processes could not be told, so the sessions of this login "
        "stay open there: %s",
        error,
    )
