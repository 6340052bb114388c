"""Who may enter, and stay: what the endpoint's row asks of a user."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from ..core.close_codes import CloseCode
from ..core.states import Access, CloseCause
from .config import EndpointConfig
from .rights import Rights, has_row, rights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a handshake is refused, or an open session may not go on."""

    status: int
    """The HTTP status, where the server lets us choose it."""
    code: int
    """The close code, where the row's site accepts first so that browsers see why."""
    reason: str
    """For the log and the event; the peer is told the status alone."""
    cause: str = ""
    """What would end an open session for the same reason, where there is such a cause."""
    farewell: str = ""
    """What the peer is told where its session was open, and its row says: it has no names."""


NOT_FOUND = Refusal(status=404, code=CloseCode.NOT_FOUND, reason="no such endpoint")
AWAY = Refusal(
    status=503,
    code=CloseCode.TRY_AGAIN_LATER,
    reason="no user can be known: the database or the store of sessions is away",
)
SIGNED_COOKIE = Refusal(
    status=403,
    code=CloseCode.UNAUTHENTICATED,
    reason="the login is kept in a signed cookie, which stays valid after a logout; the setting "
    "ACCEPT_SIGNED_COOKIE_SESSIONS accepts such logins",
)
NOT_YET = Refusal(
    status=503, code=CloseCode.TRY_AGAIN_LATER, reason="the endpoints could not be read yet"
)
DRAINING = Refusal(status=503, code=CloseCode.TRY_AGAIN_LATER, reason="the node is shutting down")
KEPT_OUT = Refusal(
    status=503,
    code=CloseCode.TRY_AGAIN_LATER,
    reason="the node is drained, and admits nobody new for now",
    cause=CloseCause.SHUTDOWN,
)


def forbidden(reason: str, farewell: str = "") -> Refusal:
    return Refusal(status=403, code=CloseCode.FORBIDDEN, reason=reason, farewell=farewell)


def unauthenticated(reason: str) -> Refusal:
    return Refusal(status=403, code=CloseCode.UNAUTHENTICATED, reason=reason, farewell=reason)


def _without_row(user: Any) -> Refusal:
    return Refusal(
        status=403,
        code=CloseCode.UNAUTHENTICATED,
        reason=f"{user} has no row in the database, so the session could not be revoked later; "
        "the endpoint's field accept_users_without_row allows such users",
        farewell="the user can't be checked",
    )


def broken(problem: str) -> Refusal:
    return Refusal(status=503, code=CloseCode.INTERNAL_ERROR, reason=problem)


def proxy_hint(address: str) -> str:
    """Return what to do if many peers seem to share `address`, which is a private one."""
    try:
        private = ip_network(address).is_private
    except ValueError:
        return ""
    return " (a proxy's? then list it in TRUSTED_PROXIES)" if private else ""


def who_is_refused(
    user: Any, config: EndpointConfig, rights: Rights | None = None
) -> Refusal | None:
    """Return why `user` may not enter, or None. Sync: permissions and groups read the database."""
    if not config.needs_user:
        return None
    if not user.is_authenticated or not is_active(user):
        return unauthenticated("nobody is logged in")
    if not has_row(user) and not config.accept_users_without_row:
        return _without_row(user)
    if config.access == Access.STAFF and not getattr(user, "is_staff", False):
        return forbidden(f"{user} is no staff", "for staff only")
    rights = rights or rights_of(user, config)
    if config.permission and not rights.has_permission(user, config.permission):
        return forbidden(
            f"{user} lacks the permission {config.permission}", "a permission is missing"
        )
    if config.groups and not rights.is_member(user, config.groups):
        return forbidden(
            f"{user} is in none of the endpoint's groups", "for members of some groups only"
        )
    return None


def is_active(user: Any) -> bool:
    """Tell whether `user` may log in. As with Django's backend, a model may have no such field."""
    return bool(getattr(user, "is_active", True))
