"""What a peer came with: the facts of its handshake, read once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest, get_script_prefix

from ..conf import app_settings
from ..core.forwarding import Proxies, address_group, is_loopback, visitor_address
from ..core.redaction import REDACTED
from ..core.text import tame
from ..redaction import clean, get_logger, redactor
from .tenants import tenant_of

logger = get_logger(__name__)

MAX_RECORDED: Final = 500
"""Characters that are recorded of a path, and of each value that it captures."""

_SEPARATORS: Final = {"cookie": "; "}


def path_info(scope: Mapping[str, Any]) -> str:
    """Return the path below the script name, as Django's `ASGIRequest` does for its views.

    Django's versions differ in what they strip: 6.1 strips whole segments only. So it is asked.
    """
    path = str(scope["path"])
    if not get_script_prefix(scope):
        return path
    root_path = scope.get("root_path", "")
    request = {"method": "GET", "path": path, "root_path": root_path, "headers": []}
    return str(ASGIRequest(request, io.BytesIO()).path_info)


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
    def tenant(self) -> str | None:
        """The tenant whose users may come. Sync: a site's function may read the database."""
        return tenant_of(self.scope)

    @cached_property
    def address(self) -> str:
        """Where the visitor comes from: whom the server tells, or its trusted proxy passes on."""
        client = self.scope.get("client") or ("",)
        forwarded = self.headers.get("x-forwarded-for", "")
        return tame(visitor_address(str(client[0] or ""), forwarded, _trusted_proxies()), 64)

    @cached_property
    def address_group(self) -> str:
        """What limits by address count the peer as; empty if the address says nothing of it.

        A loopback address is a local proxy's, and a peer of a Unix socket has no address.
        """
        if not is_loopback(self.address):
            return address_group(self.address)
        if "x-forwarded-for" in self.headers and not app_settings.TRUSTED_PROXIES:
            _warn_of_proxy()
        return ""

    @property
    def path(self) -> str:
        """The path, fit for a log line and a row, without the values of secret captures."""
        path = self.scope["path"]
        is_secret = redactor().is_secret
        for value in [str(value) for name, value in self.params.items() if is_secret(name)]:
            # A converter may have changed the value so that it isn't found in the path.
            path = path.replace(value, REDACTED) if value and value in path else REDACTED
        return clean(path, MAX_RECORDED)

    @property
    def shown_params(self) -> dict[str, str]:
        """What the pattern captured, fit for a row."""
        is_secret, redact = redactor().is_secret, redactor().text
        return {
            name: REDACTED if is_secret(name) else _cut(redact(str(value)))
            for name, value in self.params.items()
        }

    def negotiate(self, preferred: tuple[str, ...]) -> str | None:
        """Return the first of `preferred` subprotocols that the peer offers (RFC 6455 §4.2.2)."""
        offered = self.scope.get("subprotocols", ())
        return next((name for name in preferred if name in offered), None)


def _cut(text: str) -> str:
    """Return `text` in at most `MAX_RECORDED` characters; unlike a path's, none is escaped."""
    return text if len(text) <= MAX_RECORDED else text[: MAX_RECORDED - 1] + "…"


def _trusted_proxies() -> Proxies:
    return _proxies(tuple(app_settings.TRUSTED_PROXIES))


_proxies = cache(Proxies.of)


@cache
def _warn_of_proxy() -> None:
    """Log once that limits by address have nothing to count."""
    logger.warning(
        "A proxy on this machine forwards connections, and TRUSTED_PROXIES doesn't list it: the "
        "addresses of peers aren't known, and no limit counts by address"
    )
