"""Who opens a session, as far as limits count several sessions together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

from ..conf import app_settings
from ..core.states import RateScope
from . import rows
from .handshake import Handshake

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Each is as the session's row has it, and empty where nobody can tell."""

    user: str
    address: str

    @classmethod
    def of(cls, handshake: Handshake, user: Any) -> Visitor:
        """Return who comes with `handshake`, and turned out to be `user`."""
        address = handshake.address
        if _is_here(address):
            if "x-forwarded-for" in handshake.headers and not app_settings.TRUSTED_PROXIES:
                _tell_of_proxy()
            address = ""
        return cls(rows.of_user(user)["user_key"], address)

    def within(self, scope: str) -> str:
        """Return what all sessions have in common that `scope` counts together, if anything."""
        if scope == RateScope.USER:
            return self.user
        return self.address if scope == RateScope.ADDRESS else ""


@cache
def _tell_of_proxy() -> None:
    """Say once that limits by address have nothing to count by."""
    logger.warning(
        "A proxy on this machine passes visitors on, and TRUSTED_PROXIES doesn't list it: their "
        "addresses aren't known, and no limit counts by them"
    )


def _is_here(address: str) -> bool:
    """Tell whether `address` is the machine's own: a proxy's, which says nothing of the peer."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
