"""Who opens a session, as far as limits count several sessions together."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..core.states import RateScope
from . import rows
from .handshake import Handshake


@dataclass(frozen=True, slots=True)
class Visitor:
    """Each is as the session's row has it, and empty where nobody can tell."""

    user: str
    address: str

    @classmethod
    def of(cls, handshake: Handshake, user: Any) -> Visitor:
        """Return who comes with `handshake`, and turned out to be `user`."""
        address = rows.of_handshake(handshake)["address"]
        return cls(rows.of_user(user)["user_key"], "" if _is_here(address) else address)

    def within(self, scope: str) -> str:
        """Return what all sessions have in common that `scope` counts together, if anything."""
        if scope == RateScope.USER:
            return self.user
        return self.address if scope == RateScope.ADDRESS else ""


def _is_here(address: str) -> bool:
    """Tell whether `address` is the machine's own: a proxy's, which says nothing of the peer."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
