"""What a sync has to do to the rows of one kind: decided on values, without a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
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
    left = _by_key(kind, [row for row in rows if row.source and found.has_left(row)])
    claims: Claims = {}
    for document in documents:
        row = owned.get(document.place.path)
        claims[document] = row or left.pop(document.unique_key, None)
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
    standing = _by_key(kind, [row for row in rows if row.pk not in claimed])
    rivals: dict[Hashable, list[Document]] = defaultdict(list)
    for document in claims:
        rivals[document.unique_key].append(document)
    for key, documents in rivals.items():
        # Rows of the same URL may exist already. The oldest one is served, so its file wins.
        holders = {row.pk: d for d in documents if (row := claims[d]) and _has(d, row)}
        oldest = min(holders, default=None)
        other = standing.get(key)
        if other is not None and (oldest is None or other.pk < oldest):
            held, holder = kind.identity_of(other), _holder(other, found)
            for document in documents:
                yield document, f"{_wanted(document, held)} {holder}"
            continue
        winner = documents[0] if oldest is None else holders[oldest]
        for document in documents:
            if document is not winner:
                name = _wanted(document, winner.identity)
                yield document, f"{name} belongs to {winner.place.file}"


def _by_key(kind: Kind, rows: Iterable[Descriptor]) -> dict[Hashable, Descriptor]:
    """Return the rows by their unique keys, the oldest where several have the same."""
    newest_first = sorted(rows, key=lambda row: row.pk, reverse=True)
    return {kind.unique_key_of(row): row for row in newest_first}


def _wanted(document: Document, held: str) -> str:
    wanted = f"the {document.kind.noun} {document.identity!r}"
    same = document.identity == held
    return wanted if same else f"{wanted} has the same URL as {held!r}, which"


def _holder(row: Descriptor, found: Found) -> str:
    if not row.source:
        return "has a row that no file owns; delete that, or give the file another one"
    if found.has_left(row):
        return f"has the row of {row.file}, which is gone; --prune deletes it"
    return f"belongs to {row.file}"


def _has(document: Document, row: Descriptor) -> bool:
    return document.kind.unique_key_of(row) == document.unique_key


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
