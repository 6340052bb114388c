"""The rows that every contender's site has; runs in the environment of a site.

Limits are on, as by default, but above what is measured: their cost counts, and none is hit.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

SESSION_KEY: Final = "benchmark" * 3
"""Of the user who is logged in."""
MANY: Final = 1_000_000
LIMITS: Final[dict[str, Any]] = {
    "access": "public",
    "allow_missing_origin": True,
    "messages_per_second": MANY,
    "message_burst": MANY,
    "max_sessions": MANY,
    "max_sessions_per_user": MANY,
    "max_sessions_per_address": MANY,
}
ENDPOINTS: Final[dict[str, dict[str, Any]]] = {
    "echo": {"handler": "handlers.echo"},
    "recorded": {"handler": "handlers.echo", "record_messages": "rows"},
    "plain": {"handler": "benchmarks.handlers.plain"},
    "blocking": {"handler": "benchmarks.handlers.blocking"},
    "room": {"handler": "benchmarks.handlers.room"},
    "members": {"handler": "handlers.echo", "access": "authenticated"},
}


def create() -> None:
    """Create the endpoints and the logged-in user."""
    from websockets_app.models import Endpoint

    _log_in()
    for name, row in ENDPOINTS.items():
        Endpoint.objects.create(**LIMITS | row, endpoint=name)


def create_many(number: int) -> None:
    """Create so many endpoints besides, half of them patterns."""
    from websockets_app.models import Endpoint

    Endpoint.objects.bulk_create(
        Endpoint(endpoint=path, handler="handlers.echo", **LIMITS) for path in paths(number)
    )


def paths(number: int) -> list[str]:
    """Return the paths of so many other endpoints; the last one is a pattern."""
    return [f"other/{row}/<slug:room>" if row % 2 else f"other/{row}" for row in range(number)]


def _log_in() -> None:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY
    from django.contrib.auth import SESSION_KEY as USER_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    user = User.objects.create_user("member")
    known = {
        USER_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session.objects.save(SESSION_KEY, known, timezone.now() + timedelta(days=1))
