"""The path syntax of endpoints: Django's `path()`, below the prefix or absolute."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.urls.converters import get_converters
from django.urls.resolvers import RoutePattern
from django.utils.translation import gettext_lazy as _

from ..conf import app_settings
from ..exceptions import InvalidEndpoint

_CAPTURE: Final = re.compile(r"<[^<>]*>")
_CONVERTER: Final = re.compile(r"<(?:([^<>:]*):)?[^<>]*>")
_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")


def route(endpoint: str) -> str:
    """Return the route of `endpoint` from the site's root, without the leading slash."""
    if endpoint.startswith("/"):
        return endpoint[1:]
    prefix = app_settings.PREFIX.strip("/")
    return f"{prefix}/{endpoint}" if prefix else endpoint


def url_key(endpoint: str) -> tuple[object, ...]:
    """Return a key that is equal for two endpoints if they have the same URLs.

    The key ignores how an endpoint is written: relative or absolute, `<name>` or `<str:name>`, and
    under which names values are captured. It depends on the current prefix.
    """
    converters = get_converters()
    # Literal text, a converter's name or None, literal text, …
    pieces: list[object] = list(_CONVERTER.split(route(endpoint)))
    pieces[1::2] = [type(converters.get(str(name or "str"))) for name in pieces[1::2]]
    return tuple(pieces)


def compile_route(endpoint: str) -> RoutePattern:
    """Return Django's pattern for `endpoint`; raise `InvalidEndpoint` where there is none."""
    if reason := _objection(endpoint):
        raise InvalidEndpoint(f"{endpoint!r}: {reason}")
    try:
        pattern = RoutePattern(route(endpoint), is_endpoint=True)
        pattern.match("")  # Django compiles on first use: here, where the error can be told
    except (ImproperlyConfigured, re.error) as error:
        raise InvalidEndpoint(f"{endpoint!r}: {error}") from None
    return pattern


def _objection(endpoint: str) -> str:
    """Return why no client could ask for such a path, or would ask for another; or nothing."""
    if any(character in endpoint for character in "?#\\") or not endpoint.isprintable():
        return "a path holds no ?, #, backslash or control character"
    if _ESCAPE.search(endpoint):
        return "a path is written decoded: é, not %C3%A9"
    if not {"", ".", ".."}.isdisjoint(endpoint.removeprefix("/").split("/")):
        return "a path holds no empty part, '.' or '..'"
    if not {"<", ">"}.isdisjoint(_CAPTURE.sub("", endpoint)):
        return "a < or > stands alone; a captured value is written <converter:name>"
    return ""


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
    if not unicodedata.is_normalized("NFC", endpoint):
        # Clients ask for the composed form. The other one is a different URL that looks the same.
        raise ValidationError(
            _("Write accented letters as single characters (Unicode NFC): %(composed)s"),
            code="endpoint",
            params={"composed": unicodedata.normalize("NFC", endpoint)},
        )
