"""Make the rows what the descriptor files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, OperationalError, router, transaction

from ..exceptions import InvalidDescriptorFile
from ..models.descriptor import Descriptor
from ..models.primary import rows_to_write
from .documents import Document, read
from .finding import Found, find
from .kinds import KINDS, Kind
from .planning import Change, Plan, plan, units
from .report import Report, Verb

VERBS: Final = (Verb.NEW, Verb.CHANGED, Verb.UNCHANGED, Verb.GONE, Verb.DELETED, Verb.BAD)


def sync(paths: Sequence[Path] = (), *, prune: bool = False, dry_run: bool = False) -> Report:
    """Bring the rows in line with the files below `paths`, or below the standard roots.

    Rows whose file is gone are only told, unless `prune` deletes them. A file that can't become a
    row keeps the row that it has, and stops no other. Raises `InvalidDescriptorPath`.
    """
    found = find(paths)
    report = Report(verbs=VERBS)
    for name, reason in found.problems.items():
        report.add(Verb.BAD, name, reason)
    for kind in KINDS:
        _sync_kind(kind, found, report, prune=prune, dry_run=dry_run)
    return report


def _sync_kind(kind: Kind, found: Found, report: Report, *, prune: bool, dry_run: bool) -> None:
    documents = _documents(kind, found, report)
    made = _plan(kind, documents, found, report, prune=prune)
    if dry_run:
        _tell_as_if_done(made, report, prune=prune)
        return
    raced = _apply(made, report, prune=prune)
    if raced:
        # Somebody syncs at the same time, as two machines of one deployment do, and made the row
        # first. At a second look it is there.
        made = _plan(kind, documents, found, report, prune=prune)
        raced = _apply(made, report, prune=prune)
    for change, error in raced.items():
        report.add(Verb.BAD, change.document.place.file, f"the database refuses it: {error}")


def _plan(
    kind: Kind, documents: Sequence[Document], found: Found, report: Report, *, prune: bool
) -> Plan:
    made = plan(kind, documents, list(kind.rows()), found, prune=prune)
    for file, reason in made.problems.items():
        report.add(Verb.BAD, file, reason)
    for document in made.unchanged:
        report.add(Verb.UNCHANGED, document.place.file)
    return made


# Reading


def _documents(kind: Kind, found: Found, report: Report) -> list[Document]:
    documents = []
    for place in found.of(kind):
        try:
            documents.append(read(kind, place))
        except InvalidDescriptorFile as problem:
            report.add(Verb.BAD, place.file, str(problem))
    return _with_known_groups(documents, report)


def _with_known_groups(documents: list[Document], report: Report) -> list[Document]:
    wanted = {document: set(document.values.get("groups", ())) for document in documents}
    if not any(wanted.values()):
        return documents
    known = set(rows_to_write(Group).values_list("name", flat=True))
    for document, names in wanted.items():
        if missing := sorted(names - known):
            report.add(
                Verb.BAD, document.place.file, f"groups: no group {', '.join(map(repr, missing))}"
            )
    return [document for document, names in wanted.items() if names <= known]


# Writing


def _apply(made: Plan, report: Report, *, prune: bool) -> dict[Change, IntegrityError]:
    """Write what is planned, each row by itself; return what another's row was in the way of."""
    _delete_or_tell(made, report, prune=prune)
    raced: dict[Change, IntegrityError] = {}
    for unit in units(made.changes):
        try:
            _save_together(unit)
        except IntegrityError as error:
            raced.update(dict.fromkeys(unit, error))
        except OperationalError:  # the database is away, or too busy: no fault of the file's
            raise
        except DatabaseError as error:
            for change in unit:
                file = change.document.place.file
                report.add(Verb.BAD, file, f"the database refuses it: {error}")
        else:
            for change in unit:
                _tell(change, report)
    return raced


def _save_together(unit: Sequence[Change]) -> None:
    kind = unit[0].document.kind
    with transaction.atomic(using=router.db_for_write(kind.model)):
        if len(unit) > 1:
            _step_aside(kind, unit[0])
        for change in reversed(unit):
            _save(kind, change)


def _step_aside(kind: Kind, change: Change) -> None:
    """Free the name of the row, until it gets its new one in the same transaction."""
    assert change.row is not None
    using = router.db_for_write(kind.model)
    rows = kind.model._default_manager.using(using).filter(pk=change.row.pk)
    rows.update(**{kind.identity: f"renamed-{uuid4().hex}"})


def _save(kind: Kind, change: Change) -> None:
    using = router.db_for_write(kind.model)
    row = change.row or kind.model()
    place = change.document.place
    written = {name: value for name, value in change.fields.items() if name not in kind.relations}
    if change.row is None or change.former:
        written |= {"source_root": place.root, "source": place.source}
    for name, value in written.items():
        setattr(row, name, value)
    row.save(using=using, update_fields=None if change.row is None else list(written))
    for name in change.fields.keys() & kind.relations:
        others = getattr(row, name)
        others.set(others.model._default_manager.using(using).filter(name__in=change.fields[name]))


def _delete_or_tell(made: Plan, report: Report, *, prune: bool) -> None:
    for row in made.gone:
        if not prune:
            _tell_gone(row, report)
            continue
        file, about = row.file, _about(row)
        try:
            with transaction.atomic(using=router.db_for_write(type(row))):
                row.delete()
        except IntegrityError as error:
            report.add(Verb.BAD, file, f"its row can't be deleted: {error}")
        else:
            report.add(Verb.DELETED, file, about)


# Telling


def _tell_as_if_done(made: Plan, report: Report, *, prune: bool) -> None:
    for row in made.gone:
        if prune:
            report.add(Verb.DELETED, row.file, _about(row))
        else:
            _tell_gone(row, report)
    for change in made.changes:
        _tell(change, report)


def _tell_gone(row: Descriptor, report: Report) -> None:
    report.add(Verb.GONE, row.file, f"{_about(row)} stays; --prune deletes it")


def _tell(change: Change, report: Report) -> None:
    document = change.document
    about = f"{document.kind.noun} {document.identity}"
    if change.row is None:
        report.add(Verb.NEW, document.place.file, about)
        return
    fields = [*([f"file (it was {change.former})"] if change.former else []), *change.fields]
    report.add(Verb.CHANGED, document.place.file, f"{about}: {', '.join(fields)}")


def _about(row: Descriptor) -> str:
    return f"{row._meta.model_name} {row}"
