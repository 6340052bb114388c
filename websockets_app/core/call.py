"""What a running callback can ask about itself.

One immutable `Call` per callback, kept in a context variable: whatever thread or task the
callback runs in, and whatever it calls, sees its own call and no other. A task that a callback
starts keeps the call of its birth.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from .peer import Peer
from .states import Method


class Called(Protocol):
    """The live peer that a callback runs for."""

    @property
    def handle(self) -> Peer: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def user(self) -> Any: ...
    @property
    def endpoint_id(self) -> int | None:
        """The primary key of the peer's endpoint; None for a client's connection."""


class _CallFields(NamedTuple):
    method: Method
    peer: Called
    message: str | bytes | None = None
    error: str | None = None
    code: int | None = None
    reason: str | None = None


class Call(_CallFields):
    """One callback being run for one peer."""

    told_gone = False
    """Whether a send of this callback to its own peer was already answered with `gone`."""

    @property
    def session(self) -> Peer:
        """The handle of the peer, which may be kept."""
        return self.peer.handle

    @property
    def params(self) -> Mapping[str, Any]:
        """What the endpoint's pattern captured; in `handle`, what the request says."""
        return self.peer.params

    @property
    def user(self) -> Any:
        """Who opened the session; None for a client's connection."""
        return self.peer.user

    def with_params(self, params: Mapping[str, Any]) -> Call:
        """Return the same call of the same peer, with other params."""
        return self._replace(peer=_Parametrised(self.peer, params))


@dataclass(frozen=True, slots=True)
class _Parametrised:
    """A peer as `Called`, but for its params: nothing in these can pass for the session."""

    peer: Called
    params: Mapping[str, Any]

    @property
    def handle(self) -> Peer:
        return self.peer.handle

    @property
    def user(self) -> Any:
        return self.peer.user

    @property
    def endpoint_id(self) -> int | None:
        return self.peer.endpoint_id


ARGUMENTS: Final = ("message", "error", "session", "params", "code", "reason", "user")
"""The parameter names by which a callback can ask for something."""

current_call: ContextVar[Call | None] = ContextVar("websockets_app_call", default=None)
