"""Secrets: read from the runner's environment, and kept out of what people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from ..core.environment import REFERENCE, AllowedVariables
from ..core.redaction import REDACTED
from ..exceptions import CredentialMissing
from ..redaction import redactor

_SECRET_NAMES: Final = ("auth", "key", "credential", "signature")
"""What is in the names of more secrets, besides those that the settings name."""


@dataclass(frozen=True)
class ClientEnvironment:
    """The environment of the runner, as far as clients may read it."""

    variables: Mapping[str, str]
    allowed: AllowedVariables

    def read(self, name: str, where: str) -> str:
        """Return the value of a variable; raise `CredentialMissing`, saying `where`."""
        if name not in self.allowed:
            raise CredentialMissing(not_allowed(name, where))
        value = self.variables.get(name)
        if value is None:
            raise CredentialMissing(
                f"The {where} names env:{name}, and the runner's environment has no {name}."
            )
        return value


def not_allowed(name: str, where: str) -> str:
    """Return a sentence that says why `env:NAME` isn't read, and what to do."""
    return (
        f"The {where} reads env:{name}, which WEBSOCKETS['CLIENT_ENVIRONMENT'] doesn't allow. "
        "Add the name to that setting or use another variable."
    )


def fill(text: str, environment: ClientEnvironment, where: str) -> str:
    """Return `text` with each `env:NAME` replaced; raise `CredentialMissing`, saying `where`."""
    return REFERENCE.sub(lambda found: environment.read(found[1], where), text)


def fill_uri(uri: str, environment: ClientEnvironment, where: str = "URI") -> str:
    """Return `uri` with each `env:NAME` replaced, quoted where it is a credential or in a query.

    In the rest of it a value stands as it is, since it may be a host with a port, or a path.
    """

    def value(found: re.Match[str]) -> str:
        plain = environment.read(found[1], where)
        before, behind = uri[: found.start()], uri[found.end() :]
        is_credential = "@" in re.split("[/?#]", behind, maxsplit=1)[0]
        return quote(plain, safe="") if "?" in before or is_credential else plain

    return REFERENCE.sub(value, uri)


def names_secret(name: str) -> bool:
    """Return whether a header or a parameter of a query with this name holds a secret."""
    return redactor().is_secret(name) or any(word in name.lower() for word in _SECRET_NAMES)


def redacted(uri: str) -> str:
    """Return `uri` for a log line or an event: without its credentials and its query's values.

    Nothing is left of a URI that can't be parsed: nobody knows which part of it is a secret.
    """
    try:
        parts = split(uri)
    except ValueError:
        return REDACTED
    query = "&".join(_hide_value(pair) for pair in parts.query.split("&")) if parts.query else ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def split(uri: str) -> SplitResult:
    """Return the parts of `uri`; raise `ValueError` if a part could be a piece of a password.

    A password with a `/` or `?` in it ends the host early: in `ws://user:pa/ss@host/` the port
    is `pa`, and in `ws://user:1/ss@host/` only the `@` behind the host tells.
    """
    parts = urlsplit(uri)
    _ = urlsplit(REFERENCE.sub("", uri)).port  # raises if it isn't a number
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("there is an @ behind the host")
    return parts


def redacted_headers(headers: object) -> object:
    """Return a row's `headers` for people: each value shows only its `env:NAME` references."""
    if not isinstance(headers, dict):
        return REDACTED
    return {name: _redacted_value(str(value)) for name, value in headers.items()}


def _redacted_value(value: str) -> str:
    if REFERENCE.fullmatch(value):
        return value
    return " ".join([REDACTED, *(found[0] for found in REFERENCE.finditer(value))])


def _hide_value(pair: str) -> str:
    name, separator, _ = pair.partition("=")
    return f"{name}={REDACTED}" if separator else REDACTED
