"""Write rows to descriptor files: back into their own, or into a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..exceptions import InvalidDescriptorFile, InvalidDescriptorPath
from ..models import Client
from ..models.descriptor import Descriptor
from . import files
from .documents import Document, read
from .kinds import CLIENTS, KINDS, Kind, is_source, stem_of
from .naming import folded, paths_for
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
    targets = []
    for kind in KINDS:
        for row in _rows(kind):
            if not _is_wanted(kind, row, names):
                continue
            if row.source:
                targets += _own_file(kind, row, roots, report)
            elif names:
                report.add(
                    Verb.BAD, f"{kind.noun} {row}", "no file owns it; name a DIRECTORY for it"
                )
    for target in _writable(targets, report):
        _write_back(target, options, report)
    return report


def write_into(folder: Path, names: Names, options: Options) -> Report:
    """Write each row into a file below `folder`; raise `InvalidDescriptorPath` if it is none."""
    if folder.exists() and not folder.is_dir():
        raise InvalidDescriptorPath(f"{str(folder)!r} is no folder.")
    report, roots, asked = Report(verbs=INTO), standard_roots(), root_at(folder)
    targets = []
    for kind in KINDS:
        for path, row in paths_for(kind, _rows(kind), asked.folder, roots).items():
            if _is_wanted(kind, row, names):
                place = roots.root_of(path, asked).place(path)
                targets.append(Target(kind=kind, row=row, place=place))
    for target in _writable(targets, report):
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
    found = kind.rows().order_by(kind.identity)
    return [row for row in found if not (isinstance(row, Client) and row.ephemeral)]


def _is_wanted(kind: Kind, row: Descriptor, names: Names) -> bool:
    return not names or kind.identity_of(row) in names.get(kind, ())


def _own_file(kind: Kind, row: Descriptor, roots: Roots, report: Report) -> list[Target]:
    """Return the file that owns `row`, as a list of one, or tell why there can't be one."""
    path = roots.path_of(row)
    if path is not None:
        place = Place(row.source_root, row.source, path)
        return [Target(kind=kind, row=row, place=place)]
    if is_source(kind, row.source):
        report.add(Verb.GONE, row.file, f"{kind.noun} {row}: its file isn't there")
    else:
        reason = f"{kind.noun} {row}: its file has to be a *{kind.suffix} below its root"
        report.add(Verb.BAD, row.file, reason)
    return []


def _writable(targets: Sequence[Target], report: Report) -> Iterator[Target]:
    """Yield the targets that may be written, and report the others.

    Links may lead out of a root. They may also make one file of two, as does a file system that
    ignores case: then writing one row would overwrite the other.
    """
    sharing: dict[object, list[Target]] = defaultdict(list)
    for target in targets:
        if problem := target.place.problem(target.kind):
            report.add(Verb.BAD, target.place.file, problem)
        else:
            sharing[_identity(target.place.path)].append(target)
    for group in sharing.values():
        if len(group) == 1:
            yield group[0]
            continue
        owners = ", ".join(f"{target.kind.noun} {target.row}" for target in group)
        for target in group:
            report.add(Verb.BAD, target.place.file, f"it is one file for several rows: {owners}")


def _identity(path: Path) -> object:
    """Return what is the same for all paths that lead to one file when it is replaced."""
    name = folded(path.resolve())
    try:
        found = path.stat()
    except OSError:  # it isn't there yet
        return name
    return name, found.st_dev, found.st_ino


def _write_back(target: Target, options: Options, report: Report) -> None:
    kind, row = target.kind, target.row
    if not (target.place.path.exists() or options.force):
        reason = f"{kind.noun} {row}: its file isn't there; --force writes it anew"
        report.add(Verb.GONE, row.file, reason)
        return
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
