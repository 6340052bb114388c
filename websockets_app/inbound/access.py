"""Who may enter: the user behind a handshake, and what the endpoint's row asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, parse_cookie

from ..core.close_codes import CloseCode
from ..core.states import Access
from .config import EndpointConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a handshake is refused."""

    status: int
    """The HTTP status, where the server lets us choose it."""
    code: int
    """The close code, where the row's site accepts first so that browsers see why."""
    reason: str
    """For the log and the event; the peer is told the status alone."""


NOT_FOUND = Refusal(status=404, code=CloseCode.NOT_FOUND, reason="no such endpoint")
AWAY = Refusal(
    status=503,
    code=CloseCode.TRY_AGAIN_LATER,
    reason="no user can be known: the database or the store of sessions is away",
)
NOT_YET = Refusal(
    status=503, code=CloseCode.TRY_AGAIN_LATER, reason="the endpoints could not be read yet"
)
DRAINING = Refusal(status=503, code=CloseCode.TRY_AGAIN_LATER, reason="the node is shutting down")


def forbidden(reason: str) -> Refusal:
    return Refusal(status=403, code=CloseCode.FORBIDDEN, reason=reason)


def broken(problem: str) -> Refusal:
    return Refusal(status=503, code=CloseCode.INTERNAL_ERROR, reason=problem)


class _HandshakeSession(dict[str, Any]):
    """A Django session as it was stored.

    `get_user()` wants to renew the key of a session that an older SECRET_KEY signed. A handshake
    sets no cookie, so that would log the user out: here renewing does nothing.
    """

    def cycle_key(self) -> None:
        """Keep the key."""

    def flush(self) -> None:
        """Keep the row, too."""
        self.clear()


def session_key(headers: Mapping[str, str]) -> str | None:
    """Return the key of the site's session cookie; None where it can't be one."""
    key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    return key if key and key.isprintable() else None  # PostgreSQL raises for a NUL, say


def load_user(key: str) -> Any:
    """Return the user whose session has `key`, or an anonymous one. Sync: reads the database."""
    if "django.contrib.sessions" not in settings.INSTALLED_APPS:
        return AnonymousUser()
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request = HttpRequest()
    request.session = _HandshakeSession(store.load())  # type: ignore[assignment]
    try:
        return get_user(request)
    except ImproperlyConfigured:
        return AnonymousUser()


def who_is_refused(user: Any, config: EndpointConfig) -> Refusal | None:
    """Return why `user` may not enter, or None. Sync: permissions and groups read the database."""
    if not config.needs_user:
        return None
    if not user.is_authenticated or not user.is_active:
        return Refusal(status=403, code=CloseCode.UNAUTHENTICATED, reason="nobody is logged in")
    if config.access == Access.STAFF and not user.is_staff:
        return forbidden(f"{user} is no staff")
    if config.permission and not user.has_perm(config.permission):
        return forbidden(f"{user} lacks the permission {config.permission}")
    if config.groups and not (
        user.is_superuser or user.groups.filter(pk__in=config.groups).exists()
    ):
        return forbidden(f"{user} is in none of the endpoint's groups")
    return None
