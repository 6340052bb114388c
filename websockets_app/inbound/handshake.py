"""What a peer came with: the facts of its handshake, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from ..conf import app_settings
from ..core.forwarding import Proxies, visitor_address
from ..core.text import tame

_SEPARATORS: Final = {"cookie": "; "}


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """One request to open a WebSocket, as its ASGI scope tells it."""

    scope: Mapping[str, Any]
    params: Mapping[str, Any]
    """What the endpoint's pattern captured from the path."""

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers by name; what comes several times is joined, and nobody's word is dropped.

        HTTP/2 may split the cookies over several (RFC 9113 §8.2.3). Of all others a list is made
        (RFC 9110 §5.3): two origins, say, are none that anybody trusts.
        """
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in headers:
                value = f"{headers[name]}{_SEPARATORS.get(name, ', ')}{value}"
            headers[name] = value
        return headers

    @cached_property
    def address(self) -> str:
        """Where the visitor comes from: whom the server tells, or its trusted proxy passes on."""
        client = self.scope.get("client") or ("",)
        forwarded = self.headers.get("x-forwarded-for", "")
        return tame(visitor_address(str(client[0] or ""), forwarded, _trusted_proxies()), 64)

    @property
    def path(self) -> str:
        """The path, fit for a log line."""
        return tame(self.scope["path"], 2000)

    def negotiate(self, preferred: tuple[str, ...]) -> str | None:
        """Return the first of `preferred` subprotocols that the peer offers (RFC 6455 §4.2.2)."""
        offered = self.scope.get("subprotocols", ())
        return next((name for name in preferred if name in offered), None)


def _trusted_proxies() -> Proxies:
    return _proxies(tuple(app_settings.TRUSTED_PROXIES))


_proxies = cache(Proxies.of)
