"""What is dialled for a client: its row with the runner's environment filled in, and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.exceptions import InvalidProxy, InvalidURI
from websockets.proxy import Proxy, parse_proxy
from websockets.uri import WebSocketURI, parse_uri

from ..exceptions import InvalidUri
from ..models.validators import TOKEN
from .address import Host
from .config import ClientConfig
from .credentials import ClientEnvironment, fill, fill_uri


@dataclass(frozen=True, kw_only=True)
class Target:
    """Holds secrets: never shown."""

    uri: str
    parsed: WebSocketURI
    peer: Host
    proxy: str | None
    parsed_proxy: Proxy | None
    proxy_host: Host | None
    headers: list[tuple[str, str]]

    @property
    def dialled(self) -> Host:
        """The host that a TCP connection is made to: the proxy if there is one."""
        return self.proxy_host or self.peer


def target_of(config: ClientConfig, environment: ClientEnvironment) -> Target:
    """Return where `config` leads; raise `CredentialMissing` or `InvalidUri`."""
    uri = fill_uri(config.uri, environment)
    proxy = fill_uri(config.proxy, environment, "proxy") or None
    parsed = _parse_uri(uri)
    parsed_proxy = _parse_proxy(proxy) if proxy else None
    _check_origin(config.origin)
    _check_subprotocols(config.subprotocols)
    return Target(
        uri=uri,
        parsed=parsed,
        peer=_host(parsed, config.uri),
        proxy=proxy,
        parsed_proxy=parsed_proxy,
        proxy_host=_host(parsed_proxy, config.proxy) if parsed_proxy else None,
        headers=[_header(name, value, environment) for name, value in config.headers],
    )


# Error messages quote nothing of a URI or a header: a piece of it may be a secret.


def _parse_uri(uri: str) -> WebSocketURI:
    try:
        return parse_uri(uri)
    except InvalidURI as error:
        raise InvalidUri(f"The URI isn't valid: {error.msg}.") from None
    except ValueError:
        raise InvalidUri("The URI isn't valid.") from None


def _parse_proxy(proxy: str) -> Proxy:
    try:
        return parse_proxy(proxy)
    except InvalidProxy as error:
        raise InvalidUri(f"The proxy isn't valid: {error.msg}.") from None
    except ValueError:
        raise InvalidUri("The proxy isn't valid.") from None


def _header(name: str, value: str, environment: ClientEnvironment) -> tuple[str, str]:
    if not TOKEN.fullmatch(name):
        raise InvalidUri("The name of a header holds a character that no such name may hold.")
    filled = fill(value, environment, f"header {name}")
    if not filled.isprintable():
        raise InvalidUri(f"The header {name!r} holds a character that no header may hold.")
    return name, filled


def _check_origin(origin: str) -> None:
    if not (origin.isascii() and origin.isprintable()):
        raise InvalidUri("The origin holds a character that no header may hold.")


def _check_subprotocols(names: Iterable[str]) -> None:
    if not all(map(TOKEN.fullmatch, names)):
        raise InvalidUri("A subprotocol isn't a valid name: it can't hold spaces or ,;:/\"()<>@.")


def _host(parsed: WebSocketURI | Proxy, written: str) -> Host:
    return Host(name=parsed.host, port=parsed.port, written=_written_host(written))


def _written_host(uri: str) -> str:
    """Return the host of `uri` as it is spelled, with `env:NAME` in place of a value."""
    try:
        authority = urlsplit(uri).netloc
    except ValueError:
        authority = ""
    return re.sub(r":[0-9]*$", "", authority.rpartition("@")[2]) or "Its host"
