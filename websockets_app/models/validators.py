"""What the fields of endpoints and clients may hold: one validator for each field.

A validator takes the value of a field and returns it as it is stored. It raises `ValidationError`
for a value that can never work, and says what to write instead. Models call them in
`clean_fields()`, so the admin, the API and descriptor files refuse the same values with the same
words. A message never quotes a part of a URI, header or subprotocol: it may be a secret.
"""

from __future__ import annotations

import math
import re
import ssl
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.environment import REFERENCE
from ..core.origins import parse_origin
from ..core.text import can_be_stored
from . import permissions

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of HTTP: the name of a header or a subprotocol (RFC 9110 §5.6.2)."""
_SUBPROTOCOL_LENGTH: Final = 100
"""As much as the row of a session or connection holds."""
_LONGEST: Final = 10 * 365 * 86_400
"""In seconds. Times further away overflow a date."""
_SOCKET_SCHEMES: Final = ("ws", "wss")
_PAGE_SCHEMES: Final = {"ws": "http", "wss": "https", "http": "ws", "https": "wss"}
_PROXY_SCHEMES: Final = ("http", "https", "socks5h", "socks5", "socks4a", "socks4")
_OPAQUE_ORIGINS: Final = ("null", "file://")
"""What browsers and apps send for a page without a host."""
_SET_BY_FIELDS: Final = {
    "origin": _("Origin header"),
    "sec-websocket-protocol": _("subprotocols"),
    "sec-websocket-extensions": _("compression"),
}
_SET_BY_HANDSHAKE: Final = frozenset(
    {
        "connection", "content-length", "host", "sec-websocket-accept", "sec-websocket-key",
        "sec-websocket-version", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def validate_storable(field: models.Field[Any, Any], value: Any) -> Any:
    """Refuse what no database stores alike in every column of this kind."""
    if value is None and not field.null:
        raise ValidationError(field.error_messages["null"], code="null")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(_("Write a finite number."))
    if isinstance(value, str) and not can_be_stored(value):
        raise ValidationError(_("Remove the NUL character or half of a surrogate pair."))
    return value


# Names and numbers


def validate_name(name: str) -> str:
    if not name.isprintable():  # it is in log lines
        raise ValidationError(_("Write it without control characters."))
    return name


def validate_seconds(seconds: float | None) -> float | None:
    if seconds is not None and seconds > _LONGEST:
        raise ValidationError(
            _("Write at most %(most)d seconds, which are ten years."), params={"most": _LONGEST}
        )
    return seconds


def validate_permission(permission: str) -> str:
    if not permission:
        return permission
    app_label, _separator, codename = permission.partition(".")
    if not app_label or not codename:
        raise ValidationError(_("Write it as app_label.codename."))
    if permissions.is_unknown(permission):
        if similar := permissions.similar_to(permission):
            raise ValidationError(
                _("There is no such permission. Did you mean %(similar)s?"),
                params={"similar": similar},
            )
        raise ValidationError(
            _("There is no such permission. Those of a new model exist once it is migrated.")
        )
    return permission


# Lists


def validate_subprotocols(names: Any) -> list[str]:
    for name in _strings(names):
        if "," in name:
            raise ValidationError(
                _("Write each subprotocol as an item of its own: %(example)s."),
                params={"example": '["a", "b"]'},
            )
        if not TOKEN.fullmatch(name) or len(name) > _SUBPROTOCOL_LENGTH:
            raise ValidationError(
                _(
                    "Write at most %(most)d characters for each subprotocol: letters, digits and "
                    "! # $ %% & ' * + - . ^ _ ` | ~, without spaces."
                ),
                params={"most": _SUBPROTOCOL_LENGTH},
            )
    if len(set(names)) < len(names):
        raise ValidationError(_("Write each subprotocol only once."))
    return list(names)


def validate_origins(origins: Any) -> list[str]:
    for origin in _strings(origins):
        if origin != "*":
            _check_origin(origin, wildcards=True)
    return list(origins)


def validate_services(references: Any) -> list[str]:
    return list(_strings(references))


def validate_origin(origin: str) -> str:
    if origin:
        _check_origin(origin, wildcards=False)
        if origin.endswith("/") and origin not in _OPAQUE_ORIGINS:
            raise _not_an_origin(origin, origin.rstrip("/"))
    return origin


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValidationError(_("Write a JSON list of strings."))
    return value


def _check_origin(origin: str, *, wildcards: bool) -> None:
    if origin in _OPAQUE_ORIGINS:
        return
    parts = parse_origin(origin)
    if parts is None or not (parts.port is None or 0 < parts.port < 65_536):
        raise _not_an_origin(origin, _origin_of(origin))
    scheme, host, _port = parts
    if wildcards and scheme in _SOCKET_SCHEMES:
        raise _not_an_origin(origin, _PAGE_SCHEMES[scheme] + origin[len(scheme) :])
    if wildcards and host == "*":
        raise _not_an_origin(origin, "*")
    domain = host.removeprefix("*.") if wildcards else host
    if "*" in domain:
        raise _not_an_origin(origin, "")
    if not host.isascii():
        raise _not_an_origin(origin, f"{scheme}://{_in_ascii(host)}" if _in_ascii(host) else "")


def _origin_of(text: str) -> str:
    """Return the origin that `text` probably means, or an empty string."""
    written = text.strip()
    if "://" not in written:
        written = f"https://{written}"
    try:
        parts = urlsplit(written)
        host, port = parts.netloc.rpartition("@")[2], parts.port
    except ValueError:
        return ""
    meant = f"{parts.scheme}://{host}"
    return meant if port != 0 and parse_origin(meant) else ""


def _not_an_origin(origin: str, meant: str) -> ValidationError:
    if meant:
        return ValidationError(
            _("“%(origin)s” is not an origin: write %(meant)s."),
            params={"origin": origin, "meant": meant},
        )
    return ValidationError(
        _("“%(origin)s” is not an origin: write scheme, host and port, as https://example.com."),
        params={"origin": origin},
    )


def _in_ascii(host: str) -> str:
    """Return `host` as it goes over the wire, or an empty string if it can't be a host."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return ""


# Where a client connects, and what it sends


def validate_uri(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if separator and scheme in _PAGE_SCHEMES and scheme not in _SOCKET_SCHEMES:
        raise ValidationError(
            _("Write %(right)s:// instead of %(wrong)s://."),
            params={"right": _PAGE_SCHEMES[scheme], "wrong": scheme},
        )
    if not separator or scheme not in _SOCKET_SCHEMES:
        raise ValidationError(_("Write a URI that starts with ws:// or wss://."))
    uri = f"{scheme}://{rest}"
    _split(uri)
    if "#" in uri:
        raise ValidationError(
            _(
                "Remove the fragment, which a WebSocket URI can't have. Write a # in a path or "
                "query as %23."
            )
        )
    return uri


def validate_proxy(proxy: str) -> str:
    if not proxy:
        return proxy
    scheme, separator, rest = proxy.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ValidationError(
            _("Write the scheme too, as %(example)s."),
            params={"example": "http://" + proxy.rpartition("@")[2]},
        )
    if scheme not in _PROXY_SCHEMES:
        raise ValidationError(
            _("Write a URL that starts with one of %(schemes)s."),
            params={"schemes": ", ".join(f"{known}://" for known in _PROXY_SCHEMES)},
        )
    proxy = f"{scheme}://{rest}"
    parts = _split(proxy)
    if parts.path not in ("", "/") or "?" in proxy or "#" in proxy:
        raise ValidationError(_("Write only scheme, host and port: a proxy has no path or query."))
    return proxy


def validate_headers(headers: Any) -> dict[str, str]:
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise ValidationError(_("Write a JSON object of strings."))
    for name, value in headers.items():
        _check_header_name(name)
        if not value.isprintable() or not _is_latin1(value):
            raise ValidationError(
                _(
                    "The value of “%(name)s” holds a line break or another character that no "
                    "header may hold. Write it percent-encoded or in Base64, as the peer expects."
                ),
                params={"name": name},
            )
    return dict(headers)


def validate_certificates(pem: str) -> str:
    if not pem.strip():
        return ""
    if "PRIVATE KEY-----" in pem:
        raise ValidationError(_("Remove the private key: only certificates belong here."))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, TypeError, ValueError):  # TypeError: not ASCII
        raise ValidationError(
            _(
                "Write certificates in PEM, each from -----BEGIN CERTIFICATE----- to "
                "-----END CERTIFICATE-----."
            )
        ) from None
    return pem


def _split(uri: str) -> SplitResult:
    """Return the parts of a URI, with a number for each `env:NAME`."""
    if not uri.isprintable() or " " in uri:
        raise ValidationError(
            _("Remove spaces and control characters; write a space in a path or query as %20.")
        )
    filled = REFERENCE.sub("1", re.sub(rf"\[{REFERENCE.pattern}\]", "[::1]", uri))
    try:
        parts = urlsplit(filled)
        host = parts.hostname
        has_host = bool(host) and bool(_in_ascii(str(host))) and "\\" not in parts.netloc
        unquote(parts.netloc, errors="strict")
    except ValueError:
        has_host = False
    if not has_host:
        raise ValidationError(
            _("Write the host after %(scheme)s://, as %(scheme)s://example.com."),
            params={"scheme": uri.partition(":")[0]},
        )
    _check_port(parts)
    if parts.username is not None and parts.password is None:
        raise ValidationError(
            _("Write user:password@ before the host, or user:@ if the password is empty.")
        )
    return parts


def _check_port(parts: SplitResult) -> None:
    try:
        is_port = parts.port != 0
    except ValueError:
        is_port = False
    if not is_port:
        raise ValidationError(
            _(
                "The port must be a number from 1 to 65535. If a password holds / ? or #, write "
                "them as %2F, %3F and %23."
            )
        )


def _check_header_name(name: str) -> None:
    known = name.lower()
    if not TOKEN.fullmatch(name):
        raise ValidationError(
            _("Write the name of each header as X-Name, in ASCII and without spaces or colons.")
        )
    if known in _SET_BY_FIELDS:
        raise ValidationError(
            _("Remove “%(name)s” and use the field “%(field)s”."),
            params={"name": name, "field": _SET_BY_FIELDS[known]},
        )
    if known in _SET_BY_HANDSHAKE:
        raise ValidationError(
            _("Remove “%(name)s”: the handshake sets it itself."), params={"name": name}
        )


def _is_latin1(text: str) -> bool:
    return all(ord(character) < 256 for character in text)
