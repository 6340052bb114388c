"""The bounded inbox of a session whose handler is slow."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..dispatch.frames import Frame


class Inbox:
    """Messages that wait for a busy handler."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[Frame, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Frame, size: int) -> bool:
        """Take a message; False where it doesn't fit. A single one always does."""
        full = len(self._waiting) >= self._most_messages or self._bytes + size > self._most_bytes
        if full and self._waiting:
            return False
        self._waiting.append((message, size))
        self._bytes += size
        return True

    def get(self) -> tuple[Frame, int]:
        message, size = self._waiting.popleft()
        self._bytes -= size
        return message, size

    def clear(self) -> int:
        """Drop everything; return how many messages that were."""
        dropped = len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return dropped


def message_of(event: dict[str, Any]) -> Frame:
    """Return the message of an ASGI `websocket.receive` event."""
    text = event.get("text")
    return text if text is not None else event.get("bytes") or b""
