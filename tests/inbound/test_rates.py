"""Buckets that sessions share, and what is settled with a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreAway

from tests.inbound.test_registry import config
from websockets_app.core.metering import TokenBucket
from websockets_app.inbound import rates as module
from websockets_app.inbound.config import EndpointConfig
from websockets_app.inbound.rate_store import RateStore
from websockets_app.inbound.rates import SLACK_SECONDS, Rates, window
from websockets_app.inbound.visitor import Visitor

ANNA = Visitor("1", "192.0.2.1")
BERT = Visitor("2", "192.0.2.1")
NOBODY = Visitor("", "")


class Ledger:
    """Takes whatever comes, up to `most` in all, and writes it down."""

    def __init__(self, most: int = 10**9) -> None:
        self.entries: list[tuple[str, int, int, int]] = []
        self._left = most

    async def take(self, name: str, number: int, most: int, seconds: int) -> bool:
        self.entries.append((name, number, most, seconds))
        self._left -= number
        return self._left >= 0


def row(scope: str, **fields: Any) -> EndpointConfig:
    limits = {"messages_per_second": 10.0, "message_burst": 20, **fields}
    return config(1, "a", rate_scope=scope, **limits)


def bucket(rates: Rates, visitor: Visitor, config: EndpointConfig) -> TokenBucket:
    found = rates.bucket(config, visitor)
    assert found is not None
    return found


def taken(bucket: TokenBucket, number: int, now: float) -> None:
    assert all(bucket.take(now) for _ in range(number))


@pytest.mark.parametrize(
    ("scope", "one", "other", "shared"),
    [
        ("session", ANNA, ANNA, False),
        ("user", ANNA, ANNA, True),
        ("user", ANNA, BERT, False),
        ("user", NOBODY, NOBODY, False),
        ("address", ANNA, BERT, True),
        ("address", NOBODY, NOBODY, False),
    ],
)
def test_the_row_says_who_shares_a_bucket(
    scope: str, one: Visitor, other: Visitor, shared: bool
) -> None:
    rates = Rates()
    assert (bucket(rates, one, row(scope)) is bucket(rates, other, row(scope))) == shared


def test_without_a_rate_there_is_no_bucket() -> None:
    assert Rates().bucket(row("user", messages_per_second=0.0), ANNA) is None


def test_another_rate_is_another_bucket() -> None:
    rates = Rates()
    old, new = (bucket(rates, ANNA, row("user", message_burst=burst)) for burst in (5, 6))
    assert (old.burst, new.burst) == (5, 6)


def test_whoever_comes_back_finds_the_bucket_as_it_was_left() -> None:
    rates, now = Rates(), 100.0
    left = bucket(rates, ANNA, row("user"))
    taken(left, 20, now)
    rates.forget(set(), now + 1)
    assert bucket(rates, ANNA, row("user")) is left
    rates.forget({left}, now + 1000)
    assert bucket(rates, ANNA, row("user")) is left
    rates.forget(set(), now + 1000)
    assert bucket(rates, ANNA, row("user")) is not left


async def test_what_was_taken_is_told_once_and_only_then() -> None:
    rates, ledger = Rates(), Ledger()
    shared = bucket(rates, ANNA, row("user"))
    bucket(rates, BERT, row("user"))
    (account, other) = rates._shared.values()
    now = account.looked_at
    other.looked_at = now
    taken(shared, 3, now)
    assert await rates.settle(ledger, now + 0.25) == set()
    taken(shared, 2, now)
    await rates.settle(ledger, now + 0.5)
    await rates.settle(ledger, now + 0.75)
    # In 20 s, ten times as long as the bucket takes to fill: 20 at once, 10 a second, and slack.
    assert ledger.entries == [("1:user:1", 3, 240, 20), ("1:user:1", 2, 240, 20)]


async def test_the_bucket_from_which_all_took_too_much_is_named() -> None:
    rates = Rates()
    shared = bucket(rates, ANNA, row("user"))
    (account,) = rates._shared.values()
    taken(shared, 20, account.looked_at)
    assert await rates.settle(Ledger(most=19), account.looked_at) == {shared}


async def test_of_very_many_those_are_told_first_who_took_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    rates, ledger = Rates(), Ledger()
    buckets = [bucket(rates, Visitor(str(user), ""), row("user")) for user in range(4)]
    now = 1000.0
    for account in rates._shared.values():
        account.looked_at = now
    for shared, number in zip(buckets, (1, 3, 2, 0), strict=True):
        taken(shared, number, now)
    await rates.settle(ledger, now + 0.25)
    assert sorted(entry[:2] for entry in ledger.entries) == [("1:user:1", 3), ("1:user:2", 2)]
    await rates.settle(ledger, now + 0.5)
    assert ledger.entries[2:] == [("1:user:0", 1, 240, 20)]
    await rates.settle(ledger, now + 2.25)
    taken(buckets[3], 1, now + 3)  # idle until now, and in time all the same
    await rates.settle(ledger, now + 3.25)
    assert ledger.entries[3:] == [("1:user:3", 1, 240, 20)]


async def test_what_could_not_be_told_in_time_is_held_against_nobody() -> None:
    rates, ledger = Rates(), Ledger(most=0)
    shared = bucket(rates, ANNA, row("user"))
    (account,) = rates._shared.values()
    begun = account.looked_at
    taken(shared, 20, begun)
    assert await rates.settle(ledger, begun + SLACK_SECONDS + 1) == set()
    assert await rates.settle(ledger, begun + SLACK_SECONDS + 1.25) == set()
    assert ledger.entries == []


@pytest.mark.parametrize(
    ("rate", "burst", "seconds"), [(100, 1000, 100), (1e4, 1, 10), (0.1, 3, 300)]
)
def test_a_window_is_ten_times_as_long_as_a_bucket_takes_to_fill(
    rate: float, burst: int, seconds: int
) -> None:
    assert window(TokenBucket(rate, burst)) == seconds


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[RateStore]:
    opened = RateStore(valkey_url)
    yield opened
    await opened.close()


async def test_two_processes_take_from_one_allowance(store: RateStore, valkey_url: str) -> None:
    other = RateStore(valkey_url)
    assert await store.take("shared", 6, most=10, seconds=10)
    assert not await other.take("shared", 5, most=10, seconds=10)
    assert await other.take("shared", 4, most=10, seconds=10)
    assert not await store.take("shared", 1, most=10, seconds=10)
    assert await store.take("another", 1, most=10, seconds=10)
    await other.close()


async def test_a_store_that_is_away_raises_soon() -> None:
    nobody = RateStore("redis://127.0.0.1:1/0")
    with pytest.raises(StoreAway):
        await nobody.take("x", 1, most=1, seconds=1)
    await nobody.close()


@pytest.mark.parametrize("url", ["", "http://example.com", "localhost:6379"])
def test_a_url_that_is_not_of_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        RateStore(url)
