"""Roots: the folders below which a descriptor file's path is its identity.

A root has a name that is the same on every machine: of an entry of HANDLER_PACKAGES its dotted
name, of an app's folder `<app>:websockets`, of any other folder its path from the project's, as
`./conf`, or an absolute one.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from django.apps import apps
from django.conf import settings

from ..conf import app_settings
from ..models.descriptor import Descriptor
from .kinds import Kind, is_source, kind_of, kind_of_row

APP_FOLDER: Final = "websockets"


@dataclass(frozen=True, order=True)
class Place:
    """Where a descriptor file is: what a row stores of it, and its path here."""

    root: str
    source: str
    path: Path

    @property
    def file(self) -> str:
        """Its name for people, as `Descriptor.file`."""
        return f"{self.root}/{self.source}"

    def problem(self, kind: Kind) -> str:
        """Return why nobody may read or write the file here, or an empty string."""
        if not is_source(kind, self.source):
            return f"it has to be a *{kind.suffix} below its root"
        root = self.path.parents[len(PurePosixPath(self.source).parts) - 1]
        try:
            target = self.path.resolve()
            is_below = target.is_relative_to(root.resolve())
            is_loop = target.is_symlink()  # Python 3.13 stops at a loop of links
        except (OSError, RuntimeError):  # older ones raise
            is_loop = True
        if is_loop:
            return "it is a link that leads nowhere"
        if not is_below:
            return "it is a link that leads out of its root"
        if kind_of(target) is not kind:
            return f"it is a link to a file that isn't a *{kind.suffix}"
        return ""


@dataclass(frozen=True)
class Root:
    """A folder with its stable name."""

    name: str
    folder: Path
    """Resolved: paths are compared with it."""

    def place(self, path: Path) -> Place:
        """Return the place of the file at `path`, which is below the folder."""
        return Place(self.name, path.relative_to(self.folder).as_posix(), path)


@dataclass(frozen=True, kw_only=True)
class Roots:
    """The standard roots of this site, and those that could not be looked up."""

    standard: tuple[Root, ...]
    problems: dict[str, str] = field(default_factory=dict)

    def root_of(self, path: Path, otherwise: Root) -> Root:
        """Return the innermost standard root around `path`, or the one that was asked for."""
        around = [root for root in self.standard if path.is_relative_to(root.folder)]
        return max(around, key=lambda root: len(root.folder.parts), default=otherwise)

    def path_of(self, row: Descriptor) -> Path | None:
        """Return where the file that owns `row` is or was.

        None if its root isn't known, or its path leads out of the root.
        """
        if not is_source(kind_of_row(row), row.source):
            return None
        named = [
            root.folder / row.source for root in self.standard if root.name == row.source_root
        ]
        if not named and _is_path(row.source_root):
            named = [(base_folder() / row.source_root).resolve() / row.source]
        return next((path for path in named if os.path.lexists(path)), named[0] if named else None)


def base_folder() -> Path:
    """Return the project's folder: BASE_DIR where the settings have it, else the current one."""
    return _as_linked(getattr(settings, "BASE_DIR", None) or Path.cwd())


def root_at(folder: Path) -> Root:
    """Return the root that `folder` is by itself."""
    written, base = _as_linked(folder), base_folder()
    resolved = folder.resolve()
    for path, start in ((written, base), (resolved, base.resolve())):
        if path.is_relative_to(start):
            below = path.relative_to(start).as_posix()
            return Root("." if below == "." else f"./{below}", resolved)
    return Root(written.as_posix(), resolved)


def standard_roots() -> Roots:
    """Find the folders of HANDLER_PACKAGES and the `websockets/` of installed apps."""
    problems: dict[str, str] = {}
    packages = list(_packages(lambda name, reason: problems.update({name: reason})))
    return Roots(standard=(*packages, *_app_folders()), problems=problems)


def _packages(report: Callable[[str, str], None]) -> Iterator[Root]:
    """Yield the packages' folders, without importing more than the parents of each."""
    for package in dict.fromkeys(app_settings.HANDLER_PACKAGES):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        except (Exception, SystemExit) as error:  # one that can't be imported hides no other
            report(f"HANDLER_PACKAGES: {package}", f"{type(error).__name__}: {error}")
            continue
        for folder in (spec and spec.submodule_search_locations) or ():
            yield Root(package, Path(folder).resolve())


def _app_folders() -> Iterator[Root]:
    for config in apps.get_app_configs():
        folder = Path(config.path, APP_FOLDER)
        if folder.is_dir():
            yield Root(f"{config.name}:{APP_FOLDER}", folder.resolve())


def _is_path(root: str) -> bool:
    is_below = root == "." or root.startswith("./")
    return ".." not in Path(root).parts and (is_below or Path(root).is_absolute())


def _as_linked(path: Path | str) -> Path:
    """Return the absolute path with its links as they are.

    A folder goes by the link to it: one that leads elsewhere with each release stays one root.
    """
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links
