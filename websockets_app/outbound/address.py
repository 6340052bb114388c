"""Where clients may dial: public addresses, and what `ALLOWED_CLIENT_HOSTS` adds.

The address that was checked is the one that is dialled: the name is resolved once, so that no
second answer of a DNS server can lead elsewhere. A proxy resolves the name of its target itself,
so there the check can't be more than an estimate.

Error messages name a host as the row spells it. They don't tell its addresses: not everybody who
reads them may know the names and addresses of the internal network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..exceptions import AddressNotAllowed, InvalidUri
from ..redaction import get_logger

logger = get_logger(__name__)

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

_METADATA_NAMES: Final = frozenset(
    {
        "metadata", "metadata.goog", "metadata.google.internal",  # Google Cloud
        "instance-data", "instance-data.ec2.internal",  # Amazon EC2
    }
)  # fmt: skip
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host and port, and the spelling of the host in the row."""

    name: str
    port: int
    written: str


class AllowedHosts:
    """What a setting lists: names, `.suffixes`, addresses and networks."""

    def __init__(self, entries: Iterable[str], setting: str = "ALLOWED_CLIENT_HOSTS") -> None:
        self.setting = setting
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[Network] = []
        for entry in entries:
            self._add(_plain(entry))

    def has_name(self, host: str) -> bool:
        """Tell whether `host` is listed by its name: then any address that it has is allowed.

        The name of a cloud's metadata service has to be listed itself: `.internal` isn't enough.
        """
        name = _plain(host)
        if name in self._names:
            return True
        return name not in _METADATA_NAMES and f".{name}".endswith(tuple(self._suffixes))

    def lists(self, host: str) -> bool:
        """Return whether `host`, a name or an address, is listed as it is."""
        address = literal(host)
        return self.has_name(host) or (address is not None and self.has_address(address))

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


async def vetted(host: Host, allowed: AllowedHosts, resolve: Resolve) -> list[str]:
    """Return the addresses of `host` that may be dialled; raise `AddressNotAllowed` for none."""
    found = await _addresses_of(host, resolve)
    if allowed.has_name(host.name):
        return found
    may = [text for text in found if _may_dial(ipaddress.ip_address(text), allowed)]
    if not may:
        raise _not_allowed(host, allowed, found)
    return may


async def check_behind_proxy(host: Host, allowed: AllowedHosts, resolve: Resolve) -> None:
    """Raise `AddressNotAllowed` if a proxy must not be asked to connect to `host`.

    All addresses of a name have to be allowed, since the proxy chooses one. A name that can't be
    resolved here is left to the proxy. But it has to be a name: `0x7f.1`, `010.1.2.3` or
    `127%2e1` may be an address for the proxy.
    """
    if allowed.has_name(host.name):
        return
    if literal(host.name) is None and not _is_plain_name(host.name):
        raise _not_allowed(host, allowed)
    try:
        found = await _addresses_of(host, resolve)
    except OSError:  # no such name, or no answer in time
        return
    if not all(_may_dial(ipaddress.ip_address(text), allowed) for text in found):
        raise _not_allowed(host, allowed, found)


async def _addresses_of(host: Host, resolve: Resolve) -> list[str]:
    if literal(host.name) is not None:
        return [host.name]
    try:
        return list(await resolve(host.name, host.port))
    except UnicodeError:  # IDNA knows no such name, and its error may quote it
        raise InvalidUri(f"{host.written} isn't a valid name of a host.") from None


def _not_allowed(
    host: Host, allowed: AllowedHosts, found: Sequence[str] = ()
) -> AddressNotAllowed:
    if found:
        logger.debug("%s has the addresses %s", host.written, ", ".join(found))
    return AddressNotAllowed(
        f"{host.written} isn't public. If clients should reach it, list it in "
        f"WEBSOCKETS[{allowed.setting!r}]."
    )


def _is_plain_name(host: str) -> bool:
    """Return whether `host` is a name for everybody, and not one of a metadata service."""
    name = _plain(host)
    if name in _METADATA_NAMES or not _HOST_NAME.fullmatch(name):
        return False
    return not _NUMBER.fullmatch(name.rpartition(".")[2])


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
