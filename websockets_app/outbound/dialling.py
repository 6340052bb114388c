"""From a client's row to an open socket: credentials, addresses, TLS, handshake."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakValueDictionary

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from ..conf import app_settings
from ..core.environment import AllowedVariables
from ..dispatch.pool import SyncPool
from ..redaction import get_logger
from . import tls
from .address import AllowedHosts, Host, check_behind_proxy, vetted
from .config import ClientConfig
from .credentials import ClientEnvironment
from .target import Target, target_of

RESOLVER_THREADS: Final = 16


class Dialler:
    """Opens the sockets of one runner, a few at a time towards each host."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Threads of its own: a dead name server holds up nobody else, nor the process's end.
        self._resolvers = SyncPool(loop, RESOLVER_THREADS)
        self._hosts = AllowedHosts(app_settings.ALLOWED_CLIENT_HOSTS)
        self._proxies = AllowedHosts(app_settings.ALLOWED_CLIENT_PROXIES, "ALLOWED_CLIENT_PROXIES")
        self._environment = ClientEnvironment(
            os.environ, AllowedVariables(app_settings.CLIENT_ENVIRONMENT)
        )
        self._slots: WeakValueDictionary[tuple[str, int], asyncio.Semaphore]
        self._slots = WeakValueDictionary()

    async def dial(self, config: ClientConfig) -> ClientConnection:
        """Return the open socket of a client.

        Raises `CredentialMissing`, `InvalidUri`, `AddressNotAllowed`, `OSError` (among them
        `TimeoutError` and `ssl.SSLError`) or an error of the `websockets` library.
        """
        target = target_of(config, self._environment)
        async with self._slot(target.dialled), asyncio.timeout(config.open_timeout) as patience:
            if target.proxy_host is None:
                addresses = await vetted(target.peer, self._hosts, self._resolve)
            else:
                await self._check_peer_of_proxy(target, config)
                addresses = await vetted(target.proxy_host, self._proxies, self._resolve)
            return await _first_that_answers(config, target, addresses, patience)

    def stop(self) -> None:
        self._resolvers.stop()

    async def _check_peer_of_proxy(self, target: Target, config: ClientConfig) -> None:
        """Check what the proxy is asked for, in half of the time: DNS may be missing here."""

        async def resolve(host: str, port: int) -> list[str]:
            async with asyncio.timeout(config.open_timeout / 2):
                return await self._resolve(host, port)

        await check_behind_proxy(target.peer, self._hosts, resolve)

    def _slot(self, dialled: Host) -> asyncio.Semaphore:
        """Return what counts the handshakes with a host; it lasts as long as there are any."""
        key = dialled.name, dialled.port
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = asyncio.Semaphore(app_settings.HANDSHAKES_PER_HOST)
        return slot

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await self._resolvers.run(_getaddrinfo, host, port)
        return list(dict.fromkeys(found))


def _getaddrinfo(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _first_that_answers(
    config: ClientConfig, target: Target, addresses: list[str], patience: asyncio.Timeout
) -> ClientConnection:
    """Try one address after the other; each may take its share of the time that is left."""
    loop = asyncio.get_running_loop()
    for number, address in enumerate(addresses):
        left = (patience.when() or 0.0) - loop.time()
        try:
            async with asyncio.timeout(left / (len(addresses) - number)):
                return await _connect(config, target, address)
        except ssl.SSLError:
            raise  # an OSError too, but somebody answered
        except OSError:
            if number == len(addresses) - 1:
                raise
    raise OSError("the name has no address")


async def _connect(config: ClientConfig, target: Target, address: str) -> ClientConnection:
    return await _Connect(
        target.uri,
        origin=Origin(config.origin) if config.origin else None,
        subprotocols=[Subprotocol(name) for name in config.subprotocols] or None,
        compression="deflate" if config.compression else None,
        additional_headers=target.headers,
        open_timeout=None,
        ping_interval=None,  # our own knows when a slow handler has stopped the reading
        close_timeout=config.close_timeout,
        max_size=config.max_message_size,
        logger=_Discreet(get_logger(f"{__name__}.socket"), {}),
        **_route(config, target, address),
    )


def _route(config: ClientConfig, target: Target, address: str) -> dict[str, Any]:
    """Return the arguments that lead to `address` and nowhere else."""
    secure = target.parsed.secure
    route: dict[str, Any] = {"proxy": None}
    if secure:
        route["ssl"] = tls.context(config.verify_tls, config.ca_certificates)
    if target.proxy is None or target.parsed_proxy is None:
        return route | {"host": address, "port": target.parsed.port}
    route["proxy"] = _with_host(target.proxy, address, target.parsed_proxy.port)
    if target.parsed_proxy.scheme == "https":
        route["proxy_server_hostname"] = target.parsed_proxy.host
    return route


def _with_host(uri: str, address: str, port: int) -> str:
    parts = urlsplit(uri)
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    userinfo, separator, _ = parts.netloc.rpartition("@")
    netloc = f"{userinfo}{separator}{host}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))


class _Connect(connect):
    """The library's, but that no redirect leads past what was checked."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Discreet(logging.LoggerAdapter[logging.Logger]):
    """Never at DEBUG, where the library would log headers and messages."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return level > logging.DEBUG and super().isEnabledFor(level)
