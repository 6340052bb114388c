"""Who it is that a proxy passes on: told by X-Forwarded-For, as far as its writers are trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

UNIX_SOCKET: Final = "unix"
"""Stands for whoever connects over a Unix socket, who has no address."""

_HOST_BITS: Final = 64
"""The bits of an IPv6 address that tell the hosts of one network apart."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies whose word is believed."""

    networks: tuple[Network, ...]
    over_unix_socket: bool

    @classmethod
    def of(cls, entries: Iterable[str]) -> Proxies:
        """Read addresses, networks and `unix`; raise `ValueError` for anything else.

        So for a network of all addresses: then all visitors could name themselves as they like.
        """
        listed = set(entries)
        networks = tuple(ip_network(entry) for entry in sorted(listed - {UNIX_SOCKET}))
        for network in networks:
            if network.prefixlen == 0:
                raise ValueError(f"{network} would make a proxy of everybody")
        return cls(networks, UNIX_SOCKET in listed)

    def trust(self, peer: str) -> bool:
        """Tell whether `peer`, an address or nothing, is one of them."""
        if not peer:
            return self.over_unix_socket
        address = _address(peer)
        return address is not None and any(address in network for network in self.networks)


def visitor_address(peer: str, forwarded: str, proxies: Proxies) -> str:
    """Return who comes by way of `peer`, whose X-Forwarded-For is `forwarded`.

    Each proxy adds at the end whom it has heard from. So the list is read from there, and no
    further than to the first who isn't one of `proxies`: what stands before is that stranger's
    own word. An entry that is no address tells nothing, and the proxy that wrote it remains.
    """
    for entry in reversed(forwarded.split(",")):
        heard_from = _address(_without_port(entry.strip()))
        if heard_from is None or not proxies.trust(peer):
            break
        peer = str(heard_from)
    return peer


def address_group(address: str) -> str:
    """Return the group of addresses in which limits count `address`.

    An IPv4 address is its own group, also if it is mapped into IPv6. Of IPv6 the group is the /64
    network: one host can use every address in it (RFC 4291 §2.5.1, RFC 8504 §6.6), so a limit for
    each address would limit nobody. Text that is no address is returned as it is.
    """
    found = _address(address)
    if not isinstance(found, IPv6Address):
        return str(found or address)
    return f"{IPv6Address(int(found) >> _HOST_BITS << _HOST_BITS)}/{128 - _HOST_BITS}"


def is_loopback(address: str) -> bool:
    """Tell whether `address` is one of this machine's loopback addresses."""
    found = _address(address)
    return found is not None and found.is_loopback


def _address(text: str) -> Address | None:
    """Return the address that `text` is; of an IPv4 address in IPv6's clothes, that one."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
