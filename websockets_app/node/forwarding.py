"""What is forwarded without anybody waiting: one by one, in the order in which it was given."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from django.db import connections

from ..exceptions import WebsocketsError
from ..redaction import get_logger

logger = get_logger(__name__)

MOST: Final = 10_000
"""What waits at most; more comes only from who sends faster than the layer takes it."""

LetterT = TypeVar("LetterT", bound=Callable[[], Any])


class _Forwarding(Generic[LetterT]):
    """Nobody waits for the letters, so failures are logged: the first of each kind in a row."""

    def __init__(self) -> None:
        self._letters: deque[LetterT] = deque()
        self._busy = False
        self._complaint = ""

    def _append(self, letter: LetterT) -> bool:
        """Take `letter`; tell whether somebody has to begin."""
        if len(self._letters) >= MOST:
            self._complain(RuntimeError(f"{MOST} wait already"))
            return False
        self._letters.append(letter)
        begins, self._busy = not self._busy, True
        return begins

    def _complain(self, error: Exception) -> None:
        known = isinstance(error, WebsocketsError)
        why = str(error) if known else repr(error)
        if why != self._complaint:
            logger.error(
                "What was sent could not be forwarded: %s", why, exc_info=None if known else error
            )
        self._complaint = why


class Forwarding(_Forwarding[Callable[[], Coroutine[Any, Any, object]]]):
    """Forwards in a task of a node's. Used in the node's event loop only."""

    def __init__(self, own: Callable[[Coroutine[Any, Any, Any]], object]) -> None:
        super().__init__()
        self._own = own

    def put(self, letter: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Forward `letter` after those before it."""
        if self._append(letter):
            self._own(self._forward_all())

    async def _forward_all(self) -> None:
        try:
            while self._letters:
                try:
                    await self._letters.popleft()()
                    self._complaint = ""
                except Exception as error:
                    self._complain(error)
        finally:
            self._busy = False


class ThreadForwarding(_Forwarding[Callable[[], object]]):
    """Forwards in a thread that ends with the last letter, connections and all.

    For event loops of processes without a node: nobody there would own a task.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def put(self, letter: Callable[[], object]) -> None:
        """Forward `letter` after those before it."""
        with self._lock:
            begins = self._append(letter)
        if begins:
            try:
                threading.Thread(target=self._forward_all, name="websockets-forwarding").start()
            except RuntimeError as error:  # no more threads: whoever is next tries again
                self._busy = False
                self._complain(error)

    def _forward_all(self) -> None:
        try:
            while letter := self._next():
                try:
                    letter()
                    self._complaint = ""
                except Exception as error:
                    self._complain(error)
        finally:
            connections.close_all()

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            if self._letters:
                return self._letters.popleft()
            self._busy = False
            return None
