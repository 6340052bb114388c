"""Secrets: read from the runner's environment, and kept out of what people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from ..exceptions import CredentialMissing

_REFERENCE: Final = re.compile(r"(?<![A-Za-z0-9_])env:([A-Za-z_][A-Za-z0-9_]*)")
_HIDDEN: Final = "…"


def fill(text: str, environment: Mapping[str, str], where: str) -> str:
    """Return `text` with each `env:NAME` replaced; raise `CredentialMissing`, saying `where`."""
    return _REFERENCE.sub(lambda found: _value(found[1], environment, where), text)


def fill_uri(uri: str, environment: Mapping[str, str], where: str = "URI") -> str:
    """Return `uri` with each `env:NAME` replaced, quoted where it is a credential or in a query.

    In the rest of it a value stands as it is, since it may be a host with a port, or a path.
    """

    def value(found: re.Match[str]) -> str:
        plain = _value(found[1], environment, where)
        before, behind = uri[: found.start()], uri[found.end() :]
        is_credential = "@" in re.split("[/?#]", behind, maxsplit=1)[0]
        return quote(plain, safe="") if "?" in before or is_credential else plain

    return _REFERENCE.sub(value, uri)


def redacted(uri: str) -> str:
    """Return `uri` for a log line or an event: without its credentials and its query's values."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return _HIDDEN
    query = "&".join(_hide_value(pair) for pair in parts.query.split("&")) if parts.query else ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _value(name: str, environment: Mapping[str, str], where: str) -> str:
    value = environment.get(name)
    if value is None:
        raise CredentialMissing(
            f"The {where} names env:{name}, and the runner's environment has no {name}."
        )
    return value


def _hide_value(pair: str) -> str:
    name, separator, _ = pair.partition("=")
    return f"{name}={_HIDDEN}" if separator else _HIDDEN
