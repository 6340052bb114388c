"""Secrets that people typed into a client's row, which no file may get to hold.

What reads the environment, `env:NAME`, is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..core.environment import REFERENCE
from ..outbound.credentials import names_secret, split

_SCHEME: Final = re.compile(r"([A-Za-z][\w-]*[ =])?")
"""What may stand before a reference: `Bearer env:TOKEN`, `sessionid=env:SESSION`."""

_HINT: Final = "write env:NAME instead, and let the runner's environment have it"


def find_secrets(values: Mapping[str, Any]) -> list[str]:
    """Return which of a client's `values` hold a secret, in words, each with what helps."""
    found = [
        f"{name}: {reason}; {_HINT}"
        for name in ("uri", "proxy")
        if (reason := _in_uri(str(values.get(name) or "")))
    ]
    headers = values.get("headers")
    if isinstance(headers, dict):
        found += [f"headers: {name} holds a secret; {_HINT}" for name in _in_headers(headers)]
    return found


def _in_uri(uri: str) -> str:
    """Return what of `uri` the app would hide from people, or an empty string."""
    try:
        parts = split(uri)
    except ValueError:
        return "it can't be parsed (an @ behind the host is %40), so any part may be a secret"
    user, _, _ = parts.netloc.rpartition("@")
    if _without_references(user).strip(":"):
        return "it holds a user name or password"
    if parts.fragment or any(map(_is_typed, parts.query.split("&"))):
        return "its query may hold a secret"
    return ""


def _is_typed(pair: str) -> bool:
    """Tell whether a pair of a query has a value, or is one, other than a reference."""
    name, separator, value = pair.partition("=")
    return bool(_without_references(value if separator else name))


def _in_headers(headers: Mapping[str, Any]) -> Iterator[str]:
    for name, value in headers.items():
        if names_secret(name) and not _is_reference(str(value)):
            yield name


def _is_reference(value: str) -> bool:
    left = _without_references(value)
    return not value or (left != value and _SCHEME.fullmatch(left) is not None)


def _without_references(text: str) -> str:
    return REFERENCE.sub("", text)
