"""Where shared values are kept: a table, or a cache of `CACHES`."""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from django.core.cache import BaseCache, caches

from ..conf import app_settings
from ..exceptions import SharedBusy
from ..models import SharedMember, SharedValue
from .values import check_number

LOCK_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.01


class Store(Protocol):
    """Keeps plain JSON values, and members as texts."""

    def get(self, key: str) -> tuple[Any] | None:
        """Return the value in a tuple, or None where there is none."""

    def set(self, key: str, value: Any) -> None: ...
    def delete(self, key: str) -> bool: ...
    def add(self, key: str, member: str) -> bool: ...
    def remove(self, key: str, member: str) -> bool: ...
    def members(self, key: str) -> list[str]: ...


def current_store() -> Store:
    """Return the store that the settings name."""
    alias = app_settings.SHARED_CACHE
    return TableStore() if alias is None else CacheStore(caches[alias])


class TableStore:
    """Values and members as rows, in the transaction of whoever asks."""

    def get(self, key: str) -> tuple[Any] | None:
        return SharedValue.objects.filter(pk=key).values_list("value").first()

    def set(self, key: str, value: Any) -> None:
        SharedValue.objects.put(key, value)

    def delete(self, key: str) -> bool:
        values = SharedValue.objects.filter(pk=key).delete()[0]
        members = SharedMember.objects.filter(key=key).delete()[0]
        return bool(values or members)

    def add(self, key: str, member: str) -> bool:
        check_number(SharedMember.objects.filter(key=key).exclude(member=member).count())
        return SharedMember.objects.put(key, member)

    def remove(self, key: str, member: str) -> bool:
        return SharedMember.objects.take(key, member)

    def members(self, key: str) -> list[str]:
        return SharedMember.objects.of(key)


class CacheStore:
    """Values and members as JSON texts, which never expire.

    Django's caches have no sets. So members are changed under a lock, which is an entry that
    `BaseCache.add` makes for one process alone; one that its maker has left behind expires.
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def get(self, key: str) -> tuple[Any] | None:
        text = self._cache.get(_entry("value", key))
        return None if text is None else (json.loads(text),)

    def set(self, key: str, value: Any) -> None:
        self._cache.set(_entry("value", key), json.dumps(value), timeout=None)

    def delete(self, key: str) -> bool:
        with self._locked(key):
            value = self._cache.delete(_entry("value", key))
            members = self._cache.delete(_entry("members", key))
        return value or members

    def add(self, key: str, member: str) -> bool:
        with self._locked(key):
            members = self.members(key)
            if member in members:
                return False
            check_number(len(members))
            self._keep(key, [*members, member])
            return True

    def remove(self, key: str, member: str) -> bool:
        with self._locked(key):
            members = self.members(key)
            if member not in members:
                return False
            self._keep(key, [other for other in members if other != member])
            return True

    def members(self, key: str) -> list[str]:
        members: list[str] = json.loads(self._cache.get(_entry("members", key), "[]"))
        return members

    def _keep(self, key: str, members: list[str]) -> None:
        self._cache.set(_entry("members", key), json.dumps(members), timeout=None)

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


def _entry(kind: str, key: str) -> str:
    """Return the name of an entry, which may have fewer characters than a key has (memcached)."""
    return f"websockets_app.{kind}.{hashlib.sha256(key.encode()).hexdigest()}"
