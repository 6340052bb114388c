"""Where shared values are kept: a table, or a cache of `CACHES`."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, Protocol

from django.core.cache import BaseCache, caches

from ..conf import app_settings
from ..core.call import current_call
from ..exceptions import SharedBusy, SharedFull
from ..models import SharedMember, SharedValue
from .values import check_number

LOCK_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.01


class Store(Protocol):
    """Keeps plain JSON values, and members as texts, until they expire or for good."""

    def get(self, key: str) -> tuple[Any] | None:
        """Return the value in a tuple, or None where there is none."""

    def set(self, key: str, value: Any, timeout: timedelta | None) -> None: ...
    def delete(self, key: str) -> bool: ...
    def add(self, key: str, member: str, timeout: timedelta | None) -> bool: ...
    def remove(self, key: str, member: str) -> bool: ...
    def members(self, key: str) -> list[str]: ...


def current_store() -> Store:
    """Return the store that the settings name."""
    alias = app_settings.SHARED_CACHE
    return TableStore() if alias is None else CacheStore(caches[alias])


class TableStore:
    """Values and members as rows, in the transaction of whoever asks."""

    def get(self, key: str) -> tuple[Any] | None:
        return SharedValue.objects.current().filter(pk=key).values_list("value").first()

    def set(self, key: str, value: Any, timeout: timedelta | None) -> None:
        if not SharedValue.objects.overwrite(key, value, timeout):
            SharedValue.objects.put(key, value, timeout, _endpoint_with_room())

    def delete(self, key: str) -> bool:
        value = SharedValue.objects.take(key=key)
        members = SharedMember.objects.take(key=key)
        return value or members

    def add(self, key: str, member: str, timeout: timedelta | None) -> bool:
        if SharedMember.objects.renew(key, member, timeout):
            return False
        check_number(SharedMember.objects.current().filter(key=key).count())
        return SharedMember.objects.put(key, member, timeout, _endpoint_with_room())

    def remove(self, key: str, member: str) -> bool:
        return SharedMember.objects.take(key=key, member=member)

    def members(self, key: str) -> list[str]:
        return SharedMember.objects.of(key)


def _endpoint_with_room() -> int | None:
    """Return the endpoint whose handler runs, None for other code; raise `SharedFull`.

    Those who add at the same moment don't see each other, so it may get a few entries more.
    """
    call = current_call.get()
    endpoint_id = None if call is None else call.peer.endpoint_id
    values = SharedValue.objects.of_endpoint(endpoint_id).values_list("endpoint").order_by()
    members = SharedMember.objects.of_endpoint(endpoint_id).values_list("endpoint").order_by()
    added, allowed = values.union(members, all=True).count(), app_settings.SHARED_ENTRIES
    if added >= allowed:
        who = "Code outside of endpoints" if endpoint_id is None else "This endpoint's handler"
        raise SharedFull(
            f"{who} has added {added} shared values and members, and "
            f"WEBSOCKETS['SHARED_ENTRIES'] allows {allowed}. Add them with a timeout, delete "
            "some, or raise the setting."
        )
    return endpoint_id


class CacheStore:
    """Values and members as JSON texts, which expire as the caller says.

    Django's caches have no sets. So members are changed under a lock, which is an entry that
    `BaseCache.add` makes for one process alone; one that its maker has left behind expires. Each
    member has its own expiry, by the clock of the process that added it.
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def get(self, key: str) -> tuple[Any] | None:
        text = self._cache.get(_entry("value", key))
        return None if text is None else (json.loads(text),)

    def set(self, key: str, value: Any, timeout: timedelta | None) -> None:
        seconds = None if timeout is None else _whole(timeout.total_seconds())
        self._cache.set(_entry("value", key), json.dumps(value), timeout=seconds)

    def delete(self, key: str) -> bool:
        with self._locked(key):
            value = self._cache.delete(_entry("value", key))
            members = self.members(key)
            self._cache.delete(_entry("members", key))
        return value or bool(members)

    def add(self, key: str, member: str, timeout: timedelta | None) -> bool:
        expiry = None if timeout is None else time.time() + timeout.total_seconds()
        with self._locked(key):
            members = self._expiries(key)
            is_new = member not in members
            if is_new:
                check_number(len(members))
            self._keep(key, members | {member: expiry})
            return is_new

    def remove(self, key: str, member: str) -> bool:
        with self._locked(key):
            members = self._expiries(key)
            if member not in members:
                return False
            del members[member]
            self._keep(key, members)
            return True

    def members(self, key: str) -> list[str]:
        return list(self._expiries(key))

    def _expiries(self, key: str) -> dict[str, float | None]:
        """Return the members of `key`, each with the time when it expires, if it does."""
        members: dict[str, float | None] = json.loads(
            self._cache.get(_entry("members", key), "{}")
        )
        now = time.time()
        return {member: at for member, at in members.items() if at is None or at > now}

    def _keep(self, key: str, members: dict[str, float | None]) -> None:
        times = [at for at in members.values() if at is not None]
        last = None if len(times) < len(members) else max(times, default=0.0)
        seconds = None if last is None else _whole(last - time.time())
        self._cache.set(_entry("members", key), json.dumps(members), timeout=seconds)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock, mine = _entry("lock", key), uuid.uuid4().hex
        deadline = time.monotonic() + 2 * LOCK_SECONDS
        while not self._cache.add(lock, mine, timeout=LOCK_SECONDS):
            if time.monotonic() > deadline:
                raise SharedBusy(f"Other processes never let go of the members of {key!r}.")
            time.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311 - not to meet again
        try:
            yield
        finally:
            if self._cache.get(lock) == mine:  # not one that came after mine had expired
                self._cache.delete(lock)


def _whole(seconds: float) -> int:
    """Return the time in whole seconds, as every cache takes it; 0 would mean never to keep it."""
    return max(1, math.ceil(seconds))


def _entry(kind: str, key: str) -> str:
    """Return the name of an entry, which may have fewer characters than a key has (memcached)."""
    return f"websockets_app.{kind}.{hashlib.sha256(key.encode()).hexdigest()}"
