"""Revocation: closes the sessions of users who have logged out, or may no longer be there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..core.states import CloseCause
from ..database import DatabaseThread
from ..redaction import get_logger
from . import access, logins
from .access import Refusal, unauthenticated
from .config import EndpointConfig
from .logins import Login
from .portions import Turns
from .rights import RightsOfMany, Who, database_of, has_row, rows_of_users, who
from .session import InboundSession
from .successor import has_changed, successor
from .tenants import tenant_context

logger = get_logger(__name__)

POLL_SECONDS: Final = 2.0
"""Two polls and what they take fit into the five seconds within which a session has to close."""
ASKED_ALONE: Final = 200
"""How many logins, and how many users, a poll asks one by one, where there is no other way."""

LOGGED_OUT: Final = unauthenticated("logged out, or the login has expired")
PASSWORD_CHANGED: Final = unauthenticated("the password was changed")
DEACTIVATED: Final = unauthenticated("the user was deactivated")
DELETED: Final = unauthenticated("the user was deleted")


TurnsOfTenants = dict[str | None, tuple[Turns, Turns]]
"""Whose turn it is, of logins and of rights, by tenant."""


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
    users: list[tuple[Visit, Any]]
    """Users whose rows have changed, as handlers see them from now on."""
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
        self._turns: TurnsOfTenants = {}

    async def poll(self) -> None:
        """Look once, and close who may not stay. Raises what kept it from knowing of somebody."""
        visits = self._visits()
        if not visits:
            return
        findings = await self._thread.run(check_visits, visits, self._turns)
        for session, login in findings.moved:
            session.login = login
        for visit, user in findings.users:
            if visit.session.user is visit.user:
                visit.session.user = user
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


def check_visits(visits: list[Visit], turns: TurnsOfTenants) -> Findings:
    """Ask about the visits of each tenant and database, whatever becomes of the others.

    Sync: reads the databases and the store of sessions.
    """
    findings = Findings(refused=[], moved=[], users=[], errors=[])
    for tenant, of_tenant in _grouped(visits, lambda visit: visit.session.tenant).items():
        turns_here = turns.setdefault(tenant, (Turns(ASKED_ALONE), Turns(ASKED_ALONE)))
        try:
            with tenant_context(tenant):
                _look_in_tenant(of_tenant, turns_here, findings)
        except Exception as error:  # of a site's own context manager
            findings.errors.append(error)
    return findings


def check_again(session: InboundSession, config: EndpointConfig) -> Findings:
    """Check one session as `check_visits` does; raise what keeps it from knowing of its user."""
    visit = Visit(session, session.user, session.login, config)
    findings = check_visits([visit], {})
    if findings.errors:
        raise findings.errors[0]
    return findings


def _look_in_tenant(visits: list[Visit], turns: tuple[Turns, Turns], findings: Findings) -> None:
    login_turns, rights_turns = turns
    stored = _stored_logins(visits, login_turns, findings.errors)
    findings.moved.extend(_moved(visits, stored))
    for of_database in _grouped(visits, lambda visit: database_of(visit.user)).values():
        try:
            _look_in_database(of_database, stored, rights_turns, findings)
        except Exception as error:
            findings.errors.append(error)


def _look_in_database(
    visits: list[Visit], stored: dict[str, Login], turns: Turns, findings: Findings
) -> None:
    users = _stored_users(visit.user for visit in visits)
    current = [(_current(visit.user, users), visit.config) for visit in visits]
    known = [(user, config) for user, config in current if user is not None]
    rights = RightsOfMany(known, turns)
    given: set[int] = set()
    for visit, (user, _) in zip(visits, current, strict=True):
        try:
            if refusal := _refusal(visit, user, stored, rights):
                findings.refused.append((visit.session, refusal))
            if user is not None and has_changed(visit.user, user):
                findings.users.append((visit, successor(visit.user, user, id(user) in given)))
                given.add(id(user))
        except Exception as error:  # of a site's own user or backend
            findings.errors.append(error)


def _stored_logins(visits: list[Visit], turns: Turns, errors: list[Exception]) -> dict[str, Login]:
    """Return the logins as they are now; as they were, where the store can't be asked."""
    before = [visit.login for visit in visits if visit.login is not None]
    try:
        return logins.look_up(before, turns)
    except Exception as error:  # not only of the database: sessions may be kept elsewhere
        errors.append(error)
        return {login.key: login for login in before}


def _grouped(
    visits: Iterable[Visit], key: Callable[[Visit], str | None]
) -> dict[str | None, list[Visit]]:
    groups: defaultdict[str | None, list[Visit]] = defaultdict(list)
    for visit in visits:
        groups[key(visit)].append(visit)
    return groups


def _refusal(
    visit: Visit, user: Any, stored: dict[str, Login], rights: RightsOfMany
) -> Refusal | None:
    """Return why `user`, who is the visit's as of now, may not stay, or None."""
    if user is None:
        return DELETED
    if visit.login is not None:
        login = stored.get(visit.login.key)
        if login is None or login.user_id != visit.login.user_id or login.has_ended:
            return LOGGED_OUT
        if not logins.is_verified(login, user):
            return PASSWORD_CHANGED
    if access.is_active(visit.user) and not access.is_active(user):
        return DEACTIVATED
    return access.who_is_refused(user, visit.config, rights)


def _stored_users(users: Iterable[Any]) -> dict[Who, Any]:
    """Read the users that have rows, all together."""
    with_rows = filter(has_row, users)
    return {who(user): user for rows in rows_of_users(with_rows) for user in rows}


def _current(user: Any, users: dict[Who, Any]) -> Any | None:
    """Return the user of today: None where the row is gone, the same one where it had none."""
    return users.get(who(user)) if has_row(user) else user


def _moved(visits: list[Visit], stored: dict[str, Login]) -> list[tuple[InboundSession, Login]]:
    return [
        (visit.session, stored[visit.login.key])
        for visit in visits
        if visit.login is not None and stored.get(visit.login.key, visit.login) != visit.login
    ]


async def _close(session: InboundSession, refusal: Refusal) -> None:
    logger.info("Closing a session: %s", refusal.reason, extra=session.log_extra())
    await session.aclose(refusal.code, refusal.farewell, CloseCause.REVOKED)
