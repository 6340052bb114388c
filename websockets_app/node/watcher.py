"""Notice what changed in the descriptors: poll one watermark, compare revisions where it moved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import DatabaseError, InterfaceError

from ..database import DatabaseThread
from ..models.descriptor import Descriptor, DescriptorQuerySet, Watermark
from ..redaction import get_logger

logger = get_logger(__name__)

ModelT = TypeVar("ModelT", bound=Descriptor)
PreparedT = TypeVar("PreparedT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[PreparedT]):
    """What differs from what was applied last."""

    changed: dict[int, PreparedT]
    """New and changed rows by primary key, as `prepare` made them."""
    removed: frozenset[int]
    """Rows that are gone, or that the query no longer returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look(Generic[PreparedT]):
    watermark: Watermark
    revisions: dict[int, int]
    change: Change[PreparedT]


class Watcher(Generic[ModelT, PreparedT]):
    """Applies each change of a query's rows, once, in the node's event loop.

    `prepare` runs in the database's thread, where it may block (import a handler, say); `apply`
    runs in the loop. A change whose `apply` raises is applied again at the next poll. A row that
    `prepare` can't make anything of counts as removed, until it changes: it stops no other row.
    """

    def __init__(
        self,
        thread: DatabaseThread,
        rows: Callable[[], DescriptorQuerySet[ModelT]],
        prepare: Callable[[ModelT], PreparedT],
        apply: Callable[[Change[PreparedT]], Awaitable[None]],
    ) -> None:
        self._thread = thread
        self._rows = rows
        self._prepare = prepare
        self._apply = apply
        self._watermark: Watermark | None = None
        self._revisions: dict[int, int] = {}
        self._polling = asyncio.Lock()

    async def poll(self) -> None:
        """Look once, and apply what changed."""
        async with self._polling:
            look = await self._thread.run(self._look)
            if look is not None:
                await self._apply(look.change)
                self._watermark, self._revisions = look.watermark, look.revisions

    def _look(self) -> _Look[PreparedT] | None:
        watermark = self._rows().watermark()
        if watermark == self._watermark:
            return None
        known, found = self._revisions, self._rows().revisions()
        differing = [key for key, revision in found.items() if known.get(key) != revision]
        rows = self._rows().in_bulk(differing) if differing else {}
        # Between the queries a row may have changed again: what was read counts, so that a newer
        # revision is seen as a difference at the next poll, and a row that vanished as removed.
        revisions = {key: rev for key, rev in found.items() if known.get(key) == rev}
        revisions |= {key: row.revision for key, row in rows.items()}
        changed = dict(self._prepared(rows.values()))
        useless = rows.keys() - changed.keys()
        removed = (known.keys() - revisions.keys()) | (known.keys() & useless)
        return _Look(
            watermark=watermark,
            revisions=revisions,
            change=Change(changed=changed, removed=frozenset(removed)),
        )

    def _prepared(self, rows: Iterable[ModelT]) -> Iterator[tuple[int, PreparedT]]:
        for row in rows:
            try:
                yield row.pk, self._prepare(row)
            except (DatabaseError, InterfaceError):
                raise
            except Exception:
                logger.exception("%s %s can't be used", type(row).__name__, row)
