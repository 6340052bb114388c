"""`WebsocketClient`: how code holds a client's connection."""

from __future__ import annotations

from ..core.states import Direction
from ..node.handles import PeerHandle


class WebsocketClient(PeerHandle):
    """One open outbound connection (the seed's `WebsocketClient`). Pickles to its id."""

    __slots__ = ()

    direction = Direction.OUT
