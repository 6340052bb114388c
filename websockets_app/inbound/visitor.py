"""Who opens a session, as far as limits count several sessions together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.states import RateScope
from . import rows
from .handshake import Handshake


@dataclass(frozen=True, slots=True)
class Visitor:
    """Each is as the session's row has it, and empty where nobody can tell."""

    user: str
    address: str
    """The group of addresses that limits count together (`core.forwarding.address_group`)."""

    @classmethod
    def of(cls, handshake: Handshake, user: Any) -> Visitor:
        """Return who comes with `handshake`, and turned out to be `user`."""
        return cls(rows.of_user(user, handshake)["user_key"], handshake.address_group)

    def within(self, scope: str) -> str:
        """Return what all sessions have in common that `scope` counts together, if anything."""
        if scope == RateScope.USER:
            return self.user
        return self.address if scope == RateScope.ADDRESS else ""
