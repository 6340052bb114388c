"""Logins that ended a short while ago, in whichever process: for stores that can't be asked."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

REMEMBER_SECONDS: Final = 300.0
"""How long an ended login is remembered: many polls of the open sessions."""
MAX_LOGINS: Final = 10_000
"""How many are remembered at most, whoever writes to the channel layer."""
MAX_ID: Final = 64
"""Characters of an id at most."""


class EndedLogins:
    """The ids of ended logins; any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended_at: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, login_id: str) -> bool:
        ended_at = self._ended_at.get(login_id)
        return ended_at is not None and self._clock() - ended_at < REMEMBER_SECONDS

    def __len__(self) -> int:
        return len(self._ended_at)

    def add(self, login_id: str) -> None:
        """Remember that the login has ended; forget the oldest if there are too many."""
        if login_id and len(login_id) <= MAX_ID:
            self._ended_at[login_id] = self._clock()
            self._ended_at.move_to_end(login_id)
            if len(self._ended_at) > MAX_LOGINS:
                self._ended_at.popitem(last=False)


ended_logins: Final = EndedLogins()
