"""The path syntax of endpoints: Django's `path()`, below the prefix or absolute."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.urls.converters import DEFAULT_CONVERTERS, PathConverter, get_converters
from django.urls.resolvers import RoutePattern
from django.utils.translation import gettext_lazy as _

from ..conf import app_settings
from ..exceptions import InvalidEndpoint

_CAPTURE: Final = re.compile(r"<(?:[^<>:/]+:)?([^<>/]+)>")
_CONVERTER: Final = re.compile(r"<(?:([^<>:]*):)?[^<>]*>")
_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")

_LINEAR: Final = frozenset(converter.regex for converter in DEFAULT_CONVERTERS.values())
"""The regexes of Django's converters, which take linear time."""
_MAX_CUSTOM_VALUE: Final = 255
"""Characters that any other regex is matched against; it may take polynomial time."""


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


class Capture:
    """What a route captures: a name, and the converter of its value."""

    __slots__ = ("_fullmatch", "_max_length", "converter", "name", "takes_slashes")

    def __init__(self, name: str, converter: Any) -> None:
        self.name = name
        self.converter = converter
        self.takes_slashes = isinstance(converter, PathConverter)
        self._fullmatch = re.compile(converter.regex).fullmatch
        self._max_length = sys.maxsize if converter.regex in _LINEAR else _MAX_CUSTOM_VALUE

    def accepts(self, text: str) -> bool:
        """Return whether the converter's regex matches `text`."""
        return len(text) <= self._max_length and self._fullmatch(text) is not None


class Segment(NamedTuple):
    """What a route has between two slashes: text, or a capture with text around it."""

    before: str
    capture: Capture | None = None
    after: str = ""


class EndpointPattern:
    """A route that matches what Django's `RoutePattern` matches, in linear time.

    A regular expression of the whole route may try many ways to divide a path among its captures.
    Here there is only one: a segment has at most one capture, and at most one capture takes
    slashes. The segments around that one are counted from both ends of the path.
    """

    __slots__ = ("_captures", "_literals", "_variable", "beginning", "end", "segments")

    def __init__(self, beginning: str, segments: Sequence[Segment], end: str) -> None:
        self.beginning = beginning
        """The text before the first capture, or the whole route if it captures nothing."""
        self.segments = segments
        """What is between `beginning` and `end`."""
        self.end = end
        """The text after the last capture."""
        self._literals = [(i, s.before) for i, s in enumerate(segments) if s.capture is None]
        self._captures = [
            (i, s.before, s.capture, s.after) for i, s in enumerate(segments) if s.capture
        ]
        takes_slashes = (i for i, _, capture, _ in self._captures if capture.takes_slashes)
        self._variable = next(takes_slashes, None)

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the converted values that `path` has for the captures, or None."""
        parts = self._divide(path)
        if parts is None:
            return None
        values: list[tuple[Capture, str]] = []
        for index, before, capture, after in self._captures:
            value = _between(before, parts[index], after)
            if value is None or not capture.accepts(value):
                return None
            values.append((capture, value))
        try:
            return {capture.name: capture.converter.to_python(value) for capture, value in values}
        except ValueError:
            return None

    def _divide(self, path: str) -> list[str] | None:
        """Return the part of `path` for each segment, or None if the fixed text differs."""
        inner = _between(self.beginning, path, self.end)
        if inner is None:
            return None
        parts = inner.split("/")
        if more := len(parts) - len(self.segments):
            if more < 0 or self._variable is None:
                return None
            start, stop = self._variable, self._variable + more + 1
            parts[start:stop] = ["/".join(parts[start:stop])]
        for index, text in self._literals:
            if parts[index] != text:
                return None
        return parts


def _between(before: str, text: str, after: str) -> str | None:
    """Return what `text` has between `before` and `after`, or None if it hasn't both."""
    start, stop = len(before), len(text) - len(after)
    if start > stop or not (text.startswith(before) and text.endswith(after)):
        return None
    return text[start:stop]


def compile_route(endpoint: str) -> EndpointPattern:
    """Return the pattern of `endpoint`; raise `InvalidEndpoint` if it can't be served."""
    text = route(endpoint)
    if reason := _objection(text):
        raise InvalidEndpoint(f"{endpoint!r}: {reason}")
    beginning = text.partition("<")[0]
    end = text[len(beginning) :].rpartition(">")[2]
    try:
        converters = RoutePattern(text).converters
        between = text[len(beginning) : len(text) - len(end)]
        segments = [_segment(part, converters) for part in between.split("/")]
    except (ImproperlyConfigured, re.error) as error:
        raise InvalidEndpoint(f"{endpoint!r}: {error}") from None
    if reason := _ambiguity([segment.capture for segment in segments if segment.capture]):
        raise InvalidEndpoint(f"{endpoint!r}: {reason}")
    return EndpointPattern(beginning, segments, end)


def _objection(text: str) -> str:
    """Return why no client could ask for the route `text`, or how to write it; or nothing."""
    if any(character in text for character in "?#\\") or not text.isprintable():
        return "a path holds no ?, #, backslash or control character"
    if _ESCAPE.search(text):
        return "a path is written decoded: é, not %C3%A9"
    parts = text.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return "a path holds no empty part, '.' or '..'"
    if not {"<", ">"}.isdisjoint(_CAPTURE.sub("", text)):
        return "a < or > stands alone; a captured value is written <converter:name>"
    for part in parts:
        captures = [found[0] for found in _CAPTURE.finditer(part)]
        if len(captures) > 1:
            return (
                f"{part} has {len(captures)} captures in one segment; "
                f"separate them with slashes, as in {'/'.join(captures)}"
            )
    return ""


def _segment(text: str, converters: Mapping[str, Any]) -> Segment:
    if "<" not in text:
        return Segment(text)
    before, name, after = _CAPTURE.split(text)
    return Segment(before, Capture(name, converters[name]), after)


def _ambiguity(captures: Sequence[Capture]) -> str:
    """Return why it isn't clear which value of a path belongs to which capture, or nothing."""
    names = [capture.name for capture in captures]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        return f"two captures are named {repeated!r}; give each its own name"
    names = [capture.name for capture in captures if capture.takes_slashes]
    if len(names) > 1:
        return (
            f"{' and '.join(map(repr, names))} capture several segments each, and only one "
            "capture may; use str or slug for the others"
        )
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
