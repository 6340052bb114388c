"""Where clients may dial: public addresses, and what `ALLOWED_CLIENT_HOSTS` adds.

The address that was checked is the one that is dialled: the name is resolved once, so that no
second answer of a DNS server can lead elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from ..exceptions import AddressNotAllowed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, the preferred first."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED: Final[tuple[Network, ...]] = (
    # Public by their number, private by their use; and what only newer Pythons know as private.
    ipaddress.IPv4Network("168.63.129.16/32"),  # the metadata of Azure
    ipaddress.IPv4Network("192.0.0.0/24"),  # IETF protocol assignments; the metadata of Oracle
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of the local network
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible, deprecated
    ipaddress.IPv6Network("2001::/23"),  # Teredo and other assignments
    ipaddress.IPv6Network("3fff::/20"),  # documentation
    ipaddress.IPv6Network("5f00::/16"),  # segment routing
    ipaddress.IPv6Network("fec0::/10"),  # site-local, deprecated
)


class AllowedHosts:
    """What the setting `ALLOWED_CLIENT_HOSTS` lists: names, `.suffixes`, addresses, networks."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[Network] = []
        for entry in entries:
            self._add(_plain(entry))

    def has_name(self, host: str) -> bool:
        """Tell whether `host` is listed by its name: then any address that it has is allowed."""
        name = _plain(host)
        return name in self._names or f".{name}".endswith(tuple(self._suffixes))

    def has_address(self, address: Address) -> bool:
        """Tell whether `address`, or the IPv4 address that it stands for, is listed."""
        return any(
            judged in network
            for judged in {address, *_meanings(address)}
            for network in self._networks
            if network.version == judged.version
        )

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            if entry.startswith("."):
                self._suffixes.append(entry)
            else:
                self._names.add(entry)


def literal(host: str) -> Address | None:
    """Return `host` as the address that it is; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Tell whether everybody may dial `address`, as it is written and as it is understood."""
    return all(_is_public(judged) for judged in _meanings(address))


async def vetted(host: str, port: int, allowed: AllowedHosts, resolve: Resolve) -> list[str]:
    """Return the addresses of `host` that may be dialled; raise `AddressNotAllowed` for none."""
    written = literal(host)
    found = [host] if written is not None else list(await resolve(host, port))
    if allowed.has_name(host):
        return found
    may = [text for text in found if _may_dial(ipaddress.ip_address(text), allowed)]
    if not may:
        shown = host if written is not None else f"{host} ({', '.join(found)})"
        raise AddressNotAllowed(
            f"{shown} is no public address. If clients should reach it, list it in "
            "WEBSOCKETS['ALLOWED_CLIENT_HOSTS']."
        )
    return may


def _may_dial(address: Address, allowed: AllowedHosts) -> bool:
    return is_public(address) or allowed.has_address(address)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _REFUSED)
    )


def _meanings(address: Address) -> tuple[Address, ...]:
    """Return the addresses to which `address` leads: an IPv6 one may stand for an IPv4 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    return (address, address.sixtofour) if address.sixtofour else (address,)


def _plain(host: str) -> str:
    return host.strip().strip("[]").lower().removesuffix(".")
