"""Checks of who may enter: what stands in front of the endpoints, and which logins last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import urlparse

from channels.security.websocket import OriginValidator
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends import signed_cookies
from django.core import checks
from django.db import OperationalError, ProgrammingError, router
from django.utils.module_loading import import_string

from ..conf import app_settings
from ..core.states import Access
from ..models import Endpoint
from .options import are_usable
from .site import leads_to_endpoints, reached_by
from .tags import WEBSOCKETS


@checks.register(WEBSOCKETS)
def check_logins_can_end(**kwargs: Any) -> list[checks.CheckMessage]:
    if not apps.is_installed("django.contrib.sessions"):
        return []
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):  # the site's own trouble, which every page tells of
        return []
    if not issubclass(store, signed_cookies.SessionStore):
        return []
    if not are_usable() or app_settings.ACCEPT_SIGNED_COOKIE_SESSIONS:
        return []
    return [
        checks.Warning(
            "SESSION_ENGINE keeps Django sessions in signed cookies, and a copy of such a cookie "
            "stays valid after a logout. Endpoints that need a user refuse these logins.",
            hint="Use another SESSION_ENGINE, or set WEBSOCKETS['ACCEPT_SIGNED_COOKIE_SESSIONS'] "
            "to True. Silence this check if all endpoints are public.",
            id="websockets_app.W017",
        )
    ]


@checks.register(WEBSOCKETS, deploy=True)
def check_outer_origins(**kwargs: Any) -> list[checks.CheckMessage]:
    """Compare what validators around the routing let in with the site's own settings."""
    return [
        message
        for validator in _validators_around_endpoints()
        for message in (*_check_openness(validator), *_check_trusted(validator))
    ]


@checks.register(WEBSOCKETS, checks.Tags.database, deploy=True)
def check_outer_origins_of_rows(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Compare what validators around the routing let in with what the rows do."""
    if router.db_for_write(Endpoint) not in (databases or ()):
        return []
    validators = list(_validators_around_endpoints())
    try:
        endpoints = list(Endpoint.objects.filter(enabled=True)) if validators else []
    except (OperationalError, ProgrammingError):  # not migrated yet, or away
        return []
    return [
        _contradiction(f"The endpoint {endpoint}", refused, endpoint)
        for endpoint in endpoints
        for validator in validators
        if (refused := _refused(validator, _allowed_by(endpoint)))
    ]


def _check_openness(validator: OriginValidator) -> Iterator[checks.CheckMessage]:
    if "*" in validator.allowed_origins:
        yield checks.Info(
            "The origin validator around the endpoints lets every origin in, as with "
            'ALLOWED_HOSTS = ["*"]. The endpoints look at origins themselves; WebSockets of other '
            "apps behind it are open to every page.",
            hint="Name the origins in it, or the hosts in ALLOWED_HOSTS.",
            id="websockets_app.I019",
        )


def _check_trusted(validator: OriginValidator) -> Iterator[checks.CheckMessage]:
    if refused := _refused(validator, settings.CSRF_TRUSTED_ORIGINS):
        yield _contradiction("CSRF_TRUSTED_ORIGINS", refused)


def _contradiction(who: str, refused: Iterable[str], obj: object = None) -> checks.Warning:
    return checks.Warning(
        f"{who} lets in what an origin validator around the endpoints refuses without a word: "
        f"{', '.join(refused)}.",
        hint="In asgi.py, put the endpoints outside of it: they look at origins themselves. Or "
        "let it allow these, too.",
        obj=obj,
        id="websockets_app.W018",
    )


def _allowed_by(endpoint: Endpoint) -> list[str]:
    """Return what an endpoint lets in beside the site's own pages; empty: no origin at all."""
    origins = endpoint.origins if isinstance(endpoint.origins, list) else []
    without = endpoint.allow_missing_origin or endpoint.access == Access.PUBLIC
    return [*map(str, origins), *([""] if without else [])]


def _refused(validator: OriginValidator, allowed: Iterable[str]) -> list[str]:
    """Return those of `allowed` that the validator refuses, in words."""
    return [
        origin or "programs, which send no origin"
        for origin in allowed
        if not validator.valid_origin(urlparse(_example(origin)) if origin else None)
    ]


def _example(origin: str) -> str:
    """Return an origin that `origin`, which may have a wildcard, stands for."""
    return "https://any.invalid" if origin == "*" else origin.replace("*", "any", 1)


def _validators_around_endpoints() -> Iterator[OriginValidator]:
    try:
        application = import_string(getattr(settings, "ASGI_APPLICATION", None) or "")
    except Exception:  # which W014 tells of
        return
    for part in reached_by(application):
        if isinstance(part, OriginValidator) and leads_to_endpoints(part):
            yield part
