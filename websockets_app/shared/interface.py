"""`Shared`: values and sets of members under keys, for the handlers of all processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async

from ..node.handles import refuse_in_event_loop
from .stores import current_store
from .values import as_member, as_timeout, as_value, check_key, member_of, unpacked


class Shared:
    """Values under keys, seen by every process, which last until they are deleted or expire.

    A value is what JSON holds, or the handle of a session or client (a tuple comes back as a
    list). Of one key, `set` overwrites what anybody else set. A list that several change at once
    is a set of members instead: `add` and `remove` never lose another one's. A key's members are
    apart from its value.

    `timeout` says after how long a value or a member expires: seconds, or a `timedelta`. To set or
    add it again renews it, and without a timeout it doesn't expire any more. What has expired is
    found by no function. Later writes with a timeout delete its row.

    They are kept in the database, as part of the caller's transaction, or in the cache that
    `SHARED_CACHE` names. Every function has an `a…` form for async code. `InvalidShared` is raised
    for a key of more than 200 characters, a value of more than `SHARED_VALUE_SIZE` bytes, a member
    of more than 500 characters or 1500 bytes or the 10,001st of a key, a timeout that isn't
    positive, and for what JSON doesn't hold; `SharedFull` if the handler of one endpoint would add
    more than `SHARED_ENTRIES` to the table; `SharedBusy` where a cache's lock stays taken.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default` where it has none."""
        _check("aget", key)
        found = current_store().get(key)
        return default if found is None else unpacked(found[0])

    def set(self, key: str, value: Any, timeout: float | timedelta | None = None) -> None:
        """Give `key` a value, in place of the one that it has; it expires after `timeout`."""
        _check("aset", key)
        current_store().set(key, as_value(value), as_timeout(timeout))

    def delete(self, key: str) -> bool:
        """Forget the value and the members of `key`; tell whether there was anything."""
        _check("adelete", key)
        return current_store().delete(key)

    def add(self, key: str, member: Any, timeout: float | timedelta | None = None) -> bool:
        """Make `member` one of `key`'s until `timeout` is over; tell whether it wasn't yet."""
        _check("aadd", key)
        return current_store().add(key, as_member(member), as_timeout(timeout))

    def remove(self, key: str, member: Any) -> bool:
        """Take `member` from the members of `key`; tell whether it was one."""
        _check("aremove", key)
        return current_store().remove(key, as_member(member))

    def members(self, key: str) -> list[Any]:
        """Return the members of `key`, in the order in which they were added."""
        _check("amembers", key)
        return [member_of(text) for text in current_store().members(key)]

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default` where it has none."""
        return await sync_to_async(self.get)(key, default)

    async def aset(self, key: str, value: Any, timeout: float | timedelta | None = None) -> None:
        """Give `key` a value, in place of the one that it has; it expires after `timeout`."""
        await sync_to_async(self.set)(key, value, timeout)

    async def adelete(self, key: str) -> bool:
        """Forget the value and the members of `key`; tell whether there was anything."""
        return await sync_to_async(self.delete)(key)

    async def aadd(self, key: str, member: Any, timeout: float | timedelta | None = None) -> bool:
        """Make `member` one of `key`'s until `timeout` is over; tell whether it wasn't yet."""
        return await sync_to_async(self.add)(key, member, timeout)

    async def aremove(self, key: str, member: Any) -> bool:
        """Take `member` from the members of `key`; tell whether it was one."""
        return await sync_to_async(self.remove)(key, member)

    async def amembers(self, key: str) -> list[Any]:
        """Return the members of `key`, in the order in which they were added."""
        return await sync_to_async(self.members)(key)


def _check(other: str, key: str) -> None:
    refuse_in_event_loop(f"shared.{other}")
    check_key(key)
