"""`WebsocketSession`: how code holds a session."""

from __future__ import annotations

from ..core.states import Direction
from ..node.handles import PeerHandle


class WebsocketSession(PeerHandle):
    """One open inbound connection (the seed's 2.x `WebsocketSession`). Pickles to its id."""

    __slots__ = ()

    direction = Direction.IN
