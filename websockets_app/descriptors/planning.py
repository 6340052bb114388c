"""What a sync has to do to the rows of one kind: decided on values, without a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.descriptor import Descriptor
from .documents import Document
from .finding import Found
from .kinds import Kind

Claims = dict[Document, Descriptor | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """A row to create, or the fields of a row to change."""

    document: Document
    row: Descriptor | None
    fields: Mapping[str, Any]
    former: str = ""
    """The file that owned the row, where another takes it over."""

    @property
    def renames(self) -> bool:
        return self.row is not None and self.document.kind.identity in self.fields


@dataclass(kw_only=True)
class Plan:
    """What becomes of each file of one kind, and of the rows without one."""

    changes: list[Change] = field(default_factory=list)
    unchanged: list[Document] = field(default_factory=list)
    gone: list[Descriptor] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def plan(
    kind: Kind,
    documents: Sequence[Document],
    rows: Sequence[Descriptor],
    found: Found,
    *,
    prune: bool,
) -> Plan:
    """Decide, for files in their order, who owns which row and what changes in it."""
    claims = _claims(kind, documents, rows, found)
    claimed = _keys(claims)
    gone = [row for row in rows if row.source and row.pk not in claimed and found.is_gone(row)]
    staying = [row for row in rows if not prune or row not in gone]
    made = Plan(gone=gone, problems=_settle(kind, claims, staying, found))
    for document, row in claims.items():
        change = _change(document, row, found)
        if change.row is None or change.fields or change.former:
            made.changes.append(change)
        else:
            made.unchanged.append(document)
    return made


def units(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Yield `changes` in an order in which each finds its name free.

    Those that only exchange their names come together: one has to step aside for the others.
    """
    leaving = {
        change.document.kind.identity_of(change.row): change
        for change in changes
        if change.row is not None and change.renames
    }
    done: set[Change] = set()
    for first in changes:
        chain: dict[Change, None] = {}
        change: Change | None = first
        while change is not None and change not in done and change not in chain:
            chain[change] = None
            change = leaving.get(change.document.identity)
        done.update(chain)
        ordered = list(chain)
        circle = ordered.index(change) if change in chain else len(ordered)
        if ordered[circle:]:
            yield ordered[circle:]
        yield from ([before] for before in reversed(ordered[:circle]))


def _claims(
    kind: Kind, documents: Sequence[Document], rows: Sequence[Descriptor], found: Found
) -> Claims:
    """Give each file the row that it owns, or one of its name whose own file is nowhere."""
    owned = {found.roots.path_of(row): row for row in rows if row.source}
    left = {kind.identity_of(row): row for row in rows if row.source and found.has_left(row)}
    claims: Claims = {}
    for document in documents:
        row = owned.get(document.place.path)
        claims[document] = row or left.pop(document.identity, None)
    return claims


def _settle(
    kind: Kind, claims: Claims, rows: Sequence[Descriptor], found: Found
) -> dict[str, str]:
    """Take those out of `claims` that want a name which isn't theirs; return them with reasons.

    A file that loses leaves its row as it is, whose name may then be in the way of another.
    """
    problems: dict[str, str] = {}
    while lost := dict(_losers(kind, claims, rows, found)):
        for document, reason in lost.items():
            problems[document.place.file] = reason
            del claims[document]
    return problems


def _losers(
    kind: Kind, claims: Claims, rows: Sequence[Descriptor], found: Found
) -> Iterator[tuple[Document, str]]:
    claimed = _keys(claims)
    standing = {kind.identity_of(row): row for row in rows if row.pk not in claimed}
    rivals: dict[str, list[Document]] = defaultdict(list)
    for document in claims:
        rivals[document.identity].append(document)
    for identity, documents in rivals.items():
        wanted = f"the {kind.noun} {identity!r}"
        if identity in standing:
            reason = f"{wanted} {_holder(standing[identity], found)}"
            yield from ((document, reason) for document in documents)
            continue
        winner = next((d for d in documents if _has(d, claims[d])), documents[0])
        reason = f"{wanted} belongs to {winner.place.file}"
        yield from ((document, reason) for document in documents if document is not winner)


def _holder(row: Descriptor, found: Found) -> str:
    if not row.source:
        return "has a row that no file owns; delete that, or give the file another one"
    if found.has_left(row):
        return f"has the row of {row.file}, which is gone; --prune deletes it"
    return f"belongs to {row.file}"


def _has(document: Document, row: Descriptor | None) -> bool:
    return row is not None and document.kind.identity_of(row) == document.identity


def _change(document: Document, row: Descriptor | None, found: Found) -> Change:
    if row is None:
        return Change(document=document, row=None, fields=document.values)
    same_file = found.roots.path_of(row) == document.place.path
    return Change(
        document=document,
        row=row,
        fields=document.differing(document.kind.values_of(row)),
        former="" if same_file else row.file,
    )


def _keys(claims: Claims) -> Collection[int]:
    return {row.pk for row in claims.values() if row is not None}
