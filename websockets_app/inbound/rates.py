"""How fast messages may come: a bucket for each session, or one that several share.

A bucket is this process' own. Where a store is configured, what was taken from shared buckets is
settled with it afterwards, in the background: a message never waits, and while the store is away
each process goes on counting for itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import nlargest
from operator import attrgetter
from typing import Final, Protocol

from ..core.metering import TokenBucket
from .config import EndpointConfig
from .visitor import Visitor

SETTLE_SECONDS: Final = 0.25
"""How often is settled what was taken: so long all processes together may exceed a rate."""
SLACK_SECONDS: Final = 2.0
"""So much later than the messages came may it be told without anybody being wronged."""
MOST_AT_ONCE: Final = 500
"""How many buckets are settled each time: the event loop has others to serve meanwhile."""
BURSTS_A_WINDOW: Final = 10


class Store(Protocol):
    """Counts for all processes."""

    async def take(self, name: str, number: int, most: int, seconds: int) -> bool:
        """Add `number` to `name`, unless more than `most` came in the last `seconds`."""


@dataclass(slots=True, eq=False)
class Account:
    """What was taken from a shared bucket, and what of it the store knows."""

    name: str
    bucket: TokenBucket
    told: int = 0
    looked_at: float = field(default_factory=time.monotonic)

    @property
    def owed(self) -> int:
        """How much the store doesn't know of."""
        return self.bucket.taken - self.told

    def due(self, now: float) -> int:
        """Return how much is to be told now. What is too old is nobody's fault any more."""
        late = now - self.looked_at > SLACK_SECONDS
        due = 0 if late else self.owed
        self.told, self.looked_at = self.bucket.taken, now
        return due


class Rates:
    """The buckets of a node. Used in its event loop only."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, float, int], Account] = {}

    def bucket(self, config: EndpointConfig, visitor: Visitor) -> TokenBucket | None:
        """Return what a session takes its messages from; None where any number may come.

        Where nobody can tell whose they are, each session is counted for itself.
        """
        rate, burst = config.messages_per_second, config.message_burst
        if rate <= 0:
            return None
        who = visitor.within(config.rate_scope)
        if not who:
            return TokenBucket(rate, burst)
        name = f"{config.id}:{config.rate_scope}:{who}"
        account = self._shared.get((name, rate, burst))
        if account is None:
            account = Account(name, TokenBucket(rate, burst))
            self._shared[name, rate, burst] = account
        return account.bucket

    def forget(self, used: Collection[TokenBucket], now: float) -> None:
        """Drop the buckets of no session: when they are full, so that coming back wins nothing."""
        for key, account in list(self._shared.items()):
            if account.bucket not in used and account.bucket.is_full(now):
                del self._shared[key]

    async def settle(self, store: Store, now: float) -> set[TokenBucket]:
        """Tell `store` what was taken; return the buckets from which all took too much.

        Of very many those are told from which most was taken; others have their turn later.
        """
        accounts = self._shared.values()
        first = nlargest(MOST_AT_ONCE, accounts, key=attrgetter("owed"))
        idle = (account for account in accounts if not account.owed)
        due = [(account, account.due(now)) for account in {*first, *idle}]
        owing = [(account, number) for account, number in due if number]
        fits = await asyncio.gather(*(_tell(store, *entry) for entry in owing))
        return {account.bucket for (account, _), fit in zip(owing, fits, strict=True) if not fit}


async def _tell(store: Store, account: Account, number: int) -> bool:
    bucket = account.bucket
    seconds = window(bucket)
    most = math.ceil(bucket.burst + bucket.rate * (seconds + SLACK_SECONDS))
    return await store.take(account.name, min(number, most), most, seconds)


def window(bucket: TokenBucket) -> int:
    """Return the seconds over which the store counts.

    Stores count by windows. In one of ten times the time that a bucket takes to fill, whoever
    keeps to the rate fits in, and no more than a tenth above the rate does.
    """
    return max(BURSTS_A_WINDOW, math.ceil(BURSTS_A_WINDOW * bucket.burst / bucket.rate))
