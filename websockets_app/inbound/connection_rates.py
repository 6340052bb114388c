"""How often an address may open connections: decided in memory, before anything is looked up."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final, NamedTuple

from ..core.close_codes import CloseCode
from ..core.metering import TokenBucket
from ..core.states import CloseCause
from .access import Refusal, proxy_hint
from .config import EndpointConfig

MAX_BUCKETS: Final = 10_000
"""How many addresses are remembered: then the one that was quiet for longest is forgotten."""


class _Rate(NamedTuple):
    endpoint_id: int | None
    per_minute: int
    burst: int


_UNKNOWN_PATHS: Final = _Rate(None, 600, 100)
"""What an address may try of paths that no endpoint has, all together."""


class ConnectionRates:
    """The buckets of a node. Used in its event loop only."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[_Rate, str], TokenBucket] = OrderedDict()

    def refusal(self, config: EndpointConfig | None, address: str) -> Refusal | None:
        """Return why `address` may not connect now, or None; without `config` to unknown paths.

        An empty address is a proxy's that isn't trusted: everybody's, so it isn't limited.
        """
        rate = _UNKNOWN_PATHS
        if config is not None:
            rate = _Rate(config.id, config.connections_per_minute, config.connection_burst)
        if rate.per_minute <= 0 or not address:
            return None
        if self._bucket(rate, address).attempt(time.monotonic()):
            return None
        why = (
            f"address {address}{proxy_hint(address)} connects too often; allowed are "
            f"{rate.per_minute} connections a minute, {rate.burst} at once"
        )
        return Refusal(status=429, code=CloseCode.TOO_MANY, reason=why, cause=CloseCause.RATE)

    def _bucket(self, rate: _Rate, address: str) -> TokenBucket:
        buckets, key = self._buckets, (rate, address)
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = TokenBucket(rate.per_minute / 60, rate.burst)
            if len(buckets) > MAX_BUCKETS:
                buckets.popitem(last=False)
        buckets.move_to_end(key)
        return bucket

    def forget(self, now: float) -> None:
        """Drop the buckets that are full again, the longest unused first."""
        while self._buckets and next(iter(self._buckets.values())).is_full(now):
            self._buckets.popitem(last=False)
