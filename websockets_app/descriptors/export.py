"""Write rows to descriptor files: back into their own, or into a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import router

from ..exceptions import InvalidDescriptorFile, InvalidDescriptorPath
from ..models import Client
from ..models.descriptor import Descriptor
from . import files
from .documents import Document, read
from .kinds import CLIENTS, KINDS, Kind, stem_of
from .naming import paths_for
from .report import Report, Verb
from .roots import Place, Roots, root_at, standard_roots
from .typed_secrets import find_secrets

Names = Mapping[Kind, Collection[str]]
"""The endpoints and clients that were asked for by name; none at all: every one."""

BACK: Final = (Verb.WRITTEN, Verb.UNCHANGED, Verb.GONE, Verb.BAD)
INTO: Final = (Verb.WRITTEN, Verb.UNCHANGED, Verb.BAD)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files are written."""

    force: bool = False
    """Replace files that say something else, or nothing that can be read."""
    own: bool = False
    """Let the files own the rows."""
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """A row, and the file that it goes to."""

    kind: Kind
    row: Descriptor
    place: Place

    @property
    def values(self) -> dict[str, Any]:
        return self.kind.values_of(self.row)

    @property
    def owns(self) -> bool:
        """Whether the file owns the row."""
        return (self.row.source_root, self.row.source) == (self.place.root, self.place.source)

    def differing(self, document: Document) -> dict[str, Any]:
        """Return what is to change in the file, with the values of the row."""
        values = self.values
        differing = {name: values[name] for name in document.differing(values)}
        switch = self.kind.switch
        # Its own file leaves a switch to operators; a copy has to say how they turned it.
        is_left_open = switch not in document.values and not self.owns
        if is_left_open and values[switch] != self.kind.fields[switch].get_default():
            differing[switch] = values[switch]
        return differing


def write_back(names: Names, options: Options) -> Report:
    """Write each row that a file owns into that file, where it says something else."""
    report, roots = Report(verbs=BACK), standard_roots()
    for kind in KINDS:
        for row in _rows(kind):
            if not _is_wanted(kind, row, names):
                continue
            if row.source:
                _write_back(kind, row, roots, options, report)
            elif names:
                report.add(
                    Verb.BAD, f"{kind.noun} {row}", "no file owns it; name a DIRECTORY for it"
                )
    return report


def write_into(folder: Path, names: Names, options: Options) -> Report:
    """Write each row into a file below `folder`; raise `InvalidDescriptorPath` if it is none."""
    if folder.exists() and not folder.is_dir():
        raise InvalidDescriptorPath(f"{str(folder)!r} is no folder.")
    report, roots, asked = Report(verbs=INTO), standard_roots(), root_at(folder)
    for kind in KINDS:
        for path, row in paths_for(kind, _rows(kind), asked.folder, roots).items():
            if _is_wanted(kind, row, names):
                place = roots.root_of(path, asked).place(path)
                target = Target(kind=kind, row=row, place=place)
                _write_into(target, options, report)
    return report


def unknown(names: Names) -> list[str]:
    """Return those of `names` that no row has."""
    missing = []
    for kind, asked in names.items():
        there = {kind.identity_of(row) for row in _rows(kind)}
        missing += [f"{kind.noun} {name}" for name in asked if name not in there]
    return missing


def _rows(kind: Kind) -> list[Descriptor]:
    rows = kind.model._default_manager.using(router.db_for_write(kind.model))
    found = rows.order_by(kind.identity).prefetch_related(*kind.relations)
    return [row for row in found if not (isinstance(row, Client) and row.ephemeral)]


def _is_wanted(kind: Kind, row: Descriptor, names: Names) -> bool:
    return not names or kind.identity_of(row) in names.get(kind, ())


def _write_back(
    kind: Kind, row: Descriptor, roots: Roots, options: Options, report: Report
) -> None:
    path = roots.path_of(row)
    if path is None or not (path.exists() or options.force):
        hint = "" if path is None else "; --force writes it anew"
        report.add(Verb.GONE, row.file, f"{kind.noun} {row}: its file isn't there{hint}")
        return
    target = Target(kind=kind, row=row, place=Place(row.source_root, row.source, path))
    try:
        document = _document(target)
    except InvalidDescriptorFile as problem:
        if not options.force:
            report.add(Verb.BAD, row.file, f"{problem}; --force replaces it")
            return
        document = None
    _write(target, document, options, report)


def _write_into(target: Target, options: Options, report: Report) -> None:
    try:
        document = _document(target)
        differs = document is not None and bool(target.differing(document))
    except InvalidDescriptorFile:
        document, differs = None, True
    if differs and not options.force:
        report.add(
            Verb.BAD,
            target.place.file,
            "it is there, and says something else; --force replaces it",
        )
    elif _write(target, document, options, report) and options.own and not options.dry_run:
        _hand_over(target)


def _document(target: Target) -> Document | None:
    """Return what stands in the file, None if there is none; raise `InvalidDescriptorFile`."""
    return read(target.kind, target.place) if target.place.path.exists() else None


def _write(target: Target, document: Document | None, options: Options, report: Report) -> bool:
    """Write the file unless it says the same already; return whether it now does."""
    file = target.place.file
    new = target.values if document is None else target.differing(document)
    if not new:
        report.add(Verb.UNCHANGED, file)
        return True
    if target.kind is CLIENTS and (secrets := find_secrets(new)):
        report.add(Verb.BAD, file, "; ".join(secrets))
        return False
    given = _fresh(target) if document is None else {**document.given, **new}
    try:
        if not options.dry_run:
            files.replace(target.place.path, files.render(given))
    except OSError as error:
        report.add(Verb.BAD, file, f"it can't be written: {error.strerror or error}")
        return False
    report.add(Verb.WRITTEN, file, f"{target.kind.noun} {target.row}")
    return True


def _fresh(target: Target) -> dict[str, Any]:
    """Return the keys that say more than nothing."""
    kind = target.kind
    defaults = kind.defaults(stem_of(kind, target.place.path))
    return {
        name: value
        for name, value in target.values.items()
        if name in kind.required or value != defaults[name]
    }


def _hand_over(target: Target) -> None:
    if not target.owns:
        target.row.source_root, target.row.source = target.place.root, target.place.source
        target.row.save(update_fields=["source_root", "source"])
