"""Revocation: closes the sessions of users who have logged out, or may no longer be there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.db.models import Model

from ..core.states import CloseCause
from ..core.text import tame
from ..database import DatabaseThread
from . import access, logins
from .access import Refusal, unauthenticated
from .config import EndpointConfig
from .logins import Login
from .portions import Turns
from .rights import RightsOfMany, Who, rows_of_users, who
from .session import InboundSession

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
"""Two polls and what they take fit into the five seconds within which a session has to close."""
ASKED_ALONE: Final = 200
"""How many logins, and how many users, a poll asks one by one, where there is no other way."""

LOGGED_OUT: Final = unauthenticated("logged out, or the login has expired")
PASSWORD_CHANGED: Final = unauthenticated("the password was changed")
DEACTIVATED: Final = unauthenticated("the user was deactivated")
DELETED: Final = unauthenticated("the user was deleted")


class Visit(NamedTuple):
    """A session, as the poll asks about it: what the handshake saw, and the row of today."""

    session: InboundSession
    user: Any
    login: Login | None
    config: EndpointConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a poll found out."""

    refused: list[tuple[InboundSession, Refusal]]
    moved: list[tuple[InboundSession, Login]]
    """Logins that were saved again meanwhile, and are as good as before."""
    errors: list[Exception]
    """Why something could not be found out. Nobody is closed for that."""


class Revocation:
    """Polls for all open sessions of a node together, in a thread of its own.

    A site's backends of permissions are asked there, too, and may be slow: neither the lease nor
    the descriptors wait for them.
    """

    def __init__(
        self,
        sessions: Callable[[], Sequence[InboundSession]],
        endpoint: Callable[[int], EndpointConfig | None],
    ) -> None:
        self._sessions = sessions
        self._endpoint = endpoint
        self._thread = DatabaseThread("revocation")
        self._login_turns = Turns(ASKED_ALONE)
        self._rights_turns = Turns(ASKED_ALONE)

    async def poll(self) -> None:
        """Look once, and close who may not stay. Raises what kept it from knowing of somebody."""
        visits = self._visits()
        if not visits:
            return
        findings = await self._thread.run(
            check_visits, visits, self._login_turns, self._rights_turns
        )
        for session, login in findings.moved:
            session.login = login
        # Side by side: a peer that doesn't read holds up none of the others.
        await asyncio.gather(*(_close(*refused) for refused in findings.refused))
        if findings.errors:
            raise findings.errors[0]

    def stop(self) -> None:
        """Let the thread go, without waiting."""
        self._thread.stop()

    def _visits(self) -> list[Visit]:
        """Return the sessions whose user there is something to ask about.

        The row counts as it is now, even for sessions that go on under an older one.
        """
        return [
            Visit(session, session.user, session.login, config)
            for session in self._sessions()
            if (config := self._endpoint(session.config.id)) is not None
            and can_be_revoked(session, config)
        ]


def can_be_revoked(session: InboundSession, config: EndpointConfig) -> bool:
    """Tell whether access to `config` can be withdrawn from the session's user."""
    return bool(config.needs_user or session.user.is_authenticated)


def check_visits(visits: list[Visit], login_turns: Turns, rights_turns: Turns) -> Findings:
    """Ask about all `visits` together. Sync: reads the database and the store of sessions."""
    errors: list[Exception] = []
    stored = _stored_logins(visits, login_turns, errors)
    users = _stored_users(visit.user for visit in visits)
    current = [(_current(visit.user, users), visit.config) for visit in visits]
    known = [(user, config) for user, config in current if user is not None]
    rights = RightsOfMany(known, rights_turns)
    refused: list[tuple[InboundSession, Refusal]] = []
    for visit, (user, _) in zip(visits, current, strict=True):
        try:
            refusal = _refusal(visit, user, stored, rights)
        except Exception as error:  # of a site's own user or backend
            errors.append(error)
        else:
            if refusal:
                refused.append((visit.session, refusal))
    return Findings(refused=refused, moved=_moved(visits, stored), errors=errors)


def check_again(session: InboundSession, config: EndpointConfig) -> Findings:
    """Check one session as `check_visits` does; raise what keeps it from knowing of its user."""
    visit = Visit(session, session.user, session.login, config)
    findings = check_visits([visit], Turns(1), Turns(1))
    if findings.errors:
        raise findings.errors[0]
    return findings


def _stored_logins(visits: list[Visit], turns: Turns, errors: list[Exception]) -> dict[str, Login]:
    """Return the logins as they are now; as they were, where the store can't be asked."""
    before = [visit.login for visit in visits if visit.login is not None]
    try:
        return logins.look_up(before, turns)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        errors.append(error)
        return {login.key: login for login in before}


def _refusal(
    visit: Visit, user: Any, stored: dict[str, Login], rights: RightsOfMany
) -> Refusal | None:
    """Return why `user`, who is the visit's as of now, may not stay, or None."""
    if user is None:
        return DELETED
    if visit.login is not None:
        login = stored.get(visit.login.key)
        if login is None or login.user_id != visit.login.user_id:
            return LOGGED_OUT
        if not logins.is_verified(login, user):
            return PASSWORD_CHANGED
    if access.is_active(visit.user) and not access.is_active(user):
        return DEACTIVATED
    return access.who_is_refused(user, visit.config, rights)


def _stored_users(users: Iterable[Any]) -> dict[Who, Any]:
    """Read the users that have rows, all together."""
    with_rows = filter(_has_row, users)
    return {who(user): user for rows in rows_of_users(with_rows) for user in rows}


def _current(user: Any, users: dict[Who, Any]) -> Any | None:
    """Return the user of today: None where the row is gone, the same one where it had none."""
    return users.get(who(user)) if _has_row(user) else user


def _has_row(user: Any) -> bool:
    """Tell whether the user came out of the database; a middleware may make them of a token."""
    return isinstance(user, Model) and not user._state.adding


def _moved(visits: list[Visit], stored: dict[str, Login]) -> list[tuple[InboundSession, Login]]:
    return [
        (visit.session, stored[visit.login.key])
        for visit in visits
        if visit.login is not None and stored.get(visit.login.key, visit.login) != visit.login
    ]


async def _close(session: InboundSession, refusal: Refusal) -> None:
    logger.info("Closing a session: %s", tame(refusal.reason), extra=session.log_extra())
    await session.aclose(refusal.code, refusal.farewell, CloseCause.REVOKED)
