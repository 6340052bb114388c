"""Which pages may open a WebSocket here (RFC 6455 §10.2): browsers don't ask the site first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from ..core.origins import DEFAULT_PORTS, parse_origin
from ..core.states import Access
from .config import EndpointConfig
from .handshake import Handshake

_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_DEBUG_HOSTS: Final = [".localhost", "127.0.0.1", "[::1]"]


def refusal(handshake: Handshake, config: EndpointConfig) -> str:
    """Return why the request's origin may not open `config`, or an empty string."""
    headers = handshake.headers
    host = _host(headers)
    if not validate_host(split_domain_port(host)[0], _allowed_hosts()):
        return f"the Host header {host!r} is not in ALLOWED_HOSTS"
    origin = headers.get("origin")
    if origin is None:
        if config.allow_missing_origin or config.access == Access.PUBLIC:
            return ""
        return "the Origin header is missing"
    if _is_own(origin, host, _schemes(handshake)):
        return ""
    if is_listed(origin, (*settings.CSRF_TRUSTED_ORIGINS, *config.origins)):
        return ""
    return f"the origin {origin!r} is neither the site's own nor trusted"


def is_listed(origin: str, allowed: Iterable[str]) -> bool:
    """Tell whether `origin` is one of `allowed`: exact, `https://*.example.com`, or `*`."""
    return any(entry == "*" or _matches(origin, entry) for entry in allowed)


def _matches(origin: str, entry: str) -> bool:
    given, wanted = parse_origin(origin), parse_origin(entry)
    if given is None or wanted is None:
        return origin == entry  # "null", which a row may list
    scheme, host, port = wanted
    if (scheme, port) != (given[0], given[2]):
        return False
    return is_same_domain(given[1], host.removeprefix("*")) if "*" in host else host == given[1]


def _is_own(origin: str, host: str, schemes: frozenset[str]) -> bool:
    given = parse_origin(origin)
    return any(
        given is not None and given == parse_origin(f"{scheme}://{host}") for scheme in schemes
    )


def _schemes(handshake: Handshake) -> frozenset[str]:
    """Return the schemes that the request may have come by.

    A proxy's word counts only where `SECURE_PROXY_SSL_HEADER` says so. Daphne gives no scheme in a
    WebSocket's scope. Then the scheme is `https` if `SECURE_SSL_REDIRECT` is on, since no page of
    the site has another. Otherwise either will do, since the host must match all the same.
    """
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        sent = handshake.headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if sent is not None:
            return frozenset({"https" if sent.split(",")[0].strip() == secure else "http"})
    scheme = _HTTP_SCHEMES.get(handshake.scope.get("scheme", ""))
    if scheme is None and settings.SECURE_SSL_REDIRECT:
        scheme = "https"
    return frozenset(DEFAULT_PORTS) if scheme is None else frozenset({scheme})


def _host(headers: Mapping[str, str]) -> str:
    if settings.USE_X_FORWARDED_HOST and "x-forwarded-host" in headers:
        return headers["x-forwarded-host"]
    return headers.get("host", "")


def _allowed_hosts() -> list[str]:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return _DEBUG_HOSTS
    return list(settings.ALLOWED_HOSTS)
