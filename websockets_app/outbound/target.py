"""What is dialled for a client: its row with the runner's environment filled in, and checked."""

from __future__ import annotations

from dataclasses import dataclass

from websockets.exceptions import InvalidProxy, InvalidURI
from websockets.proxy import Proxy, parse_proxy
from websockets.uri import WebSocketURI, parse_uri

from ..exceptions import InvalidUri
from .config import ClientConfig
from .credentials import ClientEnvironment, fill, fill_uri


@dataclass(frozen=True, kw_only=True)
class Target:
    """Holds secrets: never shown."""

    uri: str
    parsed: WebSocketURI
    proxy: str | None
    parsed_proxy: Proxy | None
    headers: list[tuple[str, str]]

    @property
    def dialled(self) -> tuple[str, int]:
        """The host and port that a TCP connection is made to: the proxy's where there is one."""
        through = self.parsed_proxy or self.parsed
        return through.host, through.port


def target_of(config: ClientConfig, environment: ClientEnvironment) -> Target:
    """Return where `config` leads; raise `CredentialMissing` or `InvalidUri`."""
    uri = fill_uri(config.uri, environment)
    proxy = fill_uri(config.proxy, environment, "proxy") or None
    return Target(
        uri=uri,
        parsed=_parse_uri(uri),
        proxy=proxy,
        parsed_proxy=_parse_proxy(proxy) if proxy else None,
        headers=[_header(name, value, environment) for name, value in config.headers],
    )


# What the library says of a URI may quote a piece of it, and pieces are secrets.


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
    filled = fill(value, environment, f"header {name}")
    if not (name.isascii() and name.isprintable() and filled.isprintable()):
        raise InvalidUri(f"The header {name!r} holds a character that no header may hold.")
    return name, filled
