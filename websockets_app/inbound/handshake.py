"""What a peer came with: the facts of its handshake, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..core.text import tame


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """One request to open a WebSocket, as its ASGI scope tells it."""

    scope: Mapping[str, Any]
    params: Mapping[str, Any]
    """What the endpoint's pattern captured from the path."""

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers by name. HTTP/2 may split the cookies over several (RFC 9113 §8.2.3)."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            both = name == "cookie" and name in headers
            headers[name] = f"{headers[name]}; {value}" if both else value
        return headers

    @property
    def path(self) -> str:
        """The path, fit for a log line."""
        return tame(self.scope["path"], 2000)

    def negotiate(self, preferred: tuple[str, ...]) -> str | None:
        """Return the first of `preferred` subprotocols that the peer offers (RFC 6455 §4.2.2)."""
        offered = self.scope.get("subprotocols", ())
        return next((name for name in preferred if name in offered), None)
