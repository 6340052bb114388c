"""The path syntax of endpoints: Django's `path()`, below the prefix or absolute."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.urls.resolvers import RoutePattern
from django.utils.translation import gettext_lazy as _

from ..conf import app_settings
from ..exceptions import InvalidEndpoint


def route(endpoint: str) -> str:
    """Return the route of `endpoint` from the site's root, without the leading slash."""
    if endpoint.startswith("/"):
        return endpoint[1:]
    return app_settings.PREFIX.lstrip("/") + endpoint


def compile_route(endpoint: str) -> RoutePattern:
    """Return Django's pattern for `endpoint`; raise `InvalidEndpoint` where there is none."""
    if any(character in endpoint for character in "?#\\") or not endpoint.isprintable():
        raise InvalidEndpoint(
            f"{endpoint!r}: a path holds no ?, #, backslash or control character."
        )
    if any(part in {".", "..", ""} for part in endpoint.removeprefix("/").split("/")[:-1]):
        raise InvalidEndpoint(f"{endpoint!r}: a path holds no empty part, '.' or '..'.")
    if endpoint.removeprefix("/") in {"", ".", ".."} or endpoint.endswith("/.."):
        raise InvalidEndpoint(f"{endpoint!r} names no endpoint.")
    try:
        pattern = RoutePattern(route(endpoint), is_endpoint=True)
        pattern.match("")  # Django compiles on first use: here, where the error can be told
    except ImproperlyConfigured as error:
        raise InvalidEndpoint(f"{endpoint!r}: {error}") from None
    return pattern


def validate_endpoint(endpoint: str) -> None:
    """Raise `ValidationError` where `endpoint` is no path that can be served."""
    try:
        compile_route(endpoint)
    except InvalidEndpoint as error:
        raise ValidationError(
            _("This is no path that can be served: %(reason)s"),
            code="endpoint",
            params={"reason": str(error)},
        ) from None
