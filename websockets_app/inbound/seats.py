"""How many sessions may be open: of an endpoint, of a user, of an address."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from ..core.close_codes import CloseCode
from ..core.states import CloseCause
from .access import Refusal, proxy_hint
from .config import EndpointConfig
from .visitor import Visitor

Place = tuple[int, str, str]
"""An endpoint, and of it a user or an address, or neither."""


class Taken(NamedTuple):
    """How many sessions are open on an endpoint, and of those the visitor's."""

    all: int = 0
    user: int = 0
    address: int = 0


NOBODY: Final = Taken()


class Seat:
    """A place among the sessions of a node, until it is left."""

    __slots__ = ("_places", "_seats")

    def __init__(self, seats: Seats, places: tuple[Place, ...]) -> None:
        self._seats = seats
        self._places = places

    def leave(self) -> None:
        """Make room for somebody else. Doing so again does nothing."""
        self._seats.leave(self._places)
        self._places = ()


class Seats:
    """Counts who is open and who is being admitted. Used in the node's event loop only.

    So it is exact within a node: of many who come at once, no more get in than there is room for.
    What other nodes hold is known as far as they have written it.
    """

    def __init__(self) -> None:
        self._taken: Counter[Place] = Counter()

    def take(self, config: EndpointConfig, visitor: Visitor, elsewhere: Taken) -> Seat | Refusal:
        """Return a seat, or which limit leaves none; `elsewhere` is taken on other nodes."""
        places = _places(config, visitor)
        here = Taken(*(self._taken[place] for place in places))
        taken = Taken(*map(sum, zip(here, elsewhere, strict=True)))
        if refusal := _refusal(config, visitor, taken):
            return refusal
        self._taken.update(set(places))
        return Seat(self, tuple(set(places)))

    def leave(self, places: tuple[Place, ...]) -> None:
        for place in places:
            self._taken[place] -= 1
            if not self._taken[place]:
                del self._taken[place]


def _places(config: EndpointConfig, visitor: Visitor) -> tuple[Place, Place, Place]:
    """Return the places of a visitor: those of nobody in particular are the endpoint's."""
    user, address = visitor.user, visitor.address
    return (config.id, "", ""), (config.id, user, ""), (config.id, "", address)


def _refusal(config: EndpointConfig, visitor: Visitor, taken: Taken) -> Refusal | None:
    if 0 < config.max_sessions <= taken.all:
        return _full(config.max_sessions)
    if visitor.user and 0 < config.max_sessions_per_user <= taken.user:
        return _too_many(f"user {visitor.user}", config.max_sessions_per_user)
    if visitor.address and 0 < config.max_sessions_per_address <= taken.address:
        who = f"address {visitor.address}{proxy_hint(visitor.address)}"
        return _too_many(who, config.max_sessions_per_address)
    return None


def _full(most: int) -> Refusal:
    """Refuse whoever comes: it isn't their doing, and there may be room soon."""
    why = f"as many sessions are open as the endpoint takes: {most}"
    return Refusal(status=503, code=CloseCode.TRY_AGAIN_LATER, reason=why, cause=CloseCause.RATE)


def _too_many(who: str, most: int) -> Refusal:
    why = f"{who} has as many sessions open as the endpoint takes: {most}"
    return Refusal(status=429, code=CloseCode.TOO_MANY, reason=why, cause=CloseCause.RATE)
