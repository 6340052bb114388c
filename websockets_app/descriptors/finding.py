"""Which descriptor files there are, and which rows' files should be among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..exceptions import InvalidDescriptorPath
from ..models.descriptor import Descriptor
from .kinds import KINDS, Kind, kind_of
from .roots import Place, Root, Roots, root_at, standard_roots


@dataclass(kw_only=True)
class Found:
    """What a walk found."""

    roots: Roots
    folders: list[Path] = field(default_factory=list)
    """What was walked through: rows whose files would be below are in reach."""
    places: dict[Path, tuple[Kind, Place]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Why something could not be looked at, by its name."""
    unlisted: list[Path] = field(default_factory=list)

    def of(self, kind: Kind) -> list[Place]:
        return sorted(place for of_kind, place in self.places.values() if of_kind is kind)

    def is_gone(self, row: Descriptor) -> bool:
        """Tell whether the file that owns `row` should have been found, and wasn't."""
        path = self.roots.path_of(row)
        if path is None or path in self.places or _is_below(path, self.unlisted):
            return False
        return _is_below(path, self.folders) and not os.path.lexists(path)

    def has_left(self, row: Descriptor) -> bool:
        """Tell whether the file that owns `row` is nowhere, so that another may take it over."""
        path = self.roots.path_of(row)
        if path is None:
            return True
        return not _is_below(path, self.unlisted) and not os.path.lexists(path)


def find(paths: Sequence[Path] = ()) -> Found:
    """Find the files below `paths`, or below the standard roots; raise `InvalidDescriptorPath`."""
    roots = standard_roots()
    found = Found(roots=roots)
    if paths:
        # The outermost first: it is the root of what several of the paths hold.
        for path in sorted(_checked(paths), key=lambda path: len(path.resolve().parts)):
            _look_at(path, found)
    else:
        found.problems.update(roots.problems)
        for root in roots.standard:
            _walk(root, found)
    return found


def _checked(paths: Iterable[Path]) -> Iterator[Path]:
    suffixes = " or ".join(f"*{kind.suffix}" for kind in KINDS)
    for path in paths:
        if not path.exists():
            raise InvalidDescriptorPath(f"{str(path)!r} doesn't exist.")
        if not path.is_dir() and kind_of(path) is None:
            raise InvalidDescriptorPath(f"{str(path)!r} is neither a folder nor a {suffixes}.")
        yield path


def _look_at(path: Path, found: Found) -> None:
    if path.is_dir():
        _walk(root_at(path), found)
    else:
        parent = root_at(path.parent)
        _add(parent.folder / path.name, parent, found)


def _walk(root: Root, found: Found) -> None:
    def report(error: OSError) -> None:
        folder = Path(error.filename)
        found.unlisted.append(folder)
        found.problems[str(folder)] = f"the folder can't be listed: {error.strerror}"

    found.folders.append(root.folder)
    for folder, folders, names in os.walk(root.folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            _add(Path(folder, name), root, found)


def _add(path: Path, asked: Root, found: Found) -> None:
    kind = kind_of(path)
    if kind is None or path in found.places:
        return
    place = found.roots.root_of(path, asked).place(path)
    if not place.file.isprintable():
        found.problems[repr(str(path))] = "its name holds what can't be printed; rename it"
    elif problem := place.problem(kind):
        found.problems[str(path)] = problem
    elif found.files.setdefault(place.file, path) != path:
        # A namespace package has several folders, and the first of them wins, as in an import.
        found.problems[str(path)] = f"{found.files[place.file]} comes before it"
    else:
        found.places[path] = kind, place


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
