"""Import a handler again after it failed, as if for the first time.

Python forgets a module whose import failed, but keeps every module that it imported before it
failed. If the cause is in one of those, importing the handler again would fail for ever, although
the file was corrected.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from django.apps import apps

from ..conf import app_settings
from ..core import reference as references


class _Source(NamedTuple):
    """The file of a module as it was after the import that failed."""

    path: str
    stamp: tuple[int, int] | None
    imported_at: float

    def has_changed(self) -> bool:
        stamp = _stamp(self.path)
        return stamp != self.stamp or (stamp is not None and stamp[0] > self.imported_at * 1e9)


_leftovers: Final[dict[str, dict[str, _Source]]] = {}
"""By handler: the modules of handler packages that only its failed imports have imported."""


@contextmanager
def importing_anew(handler: str) -> Iterator[None]:
    """Import `handler` in the body; if it failed before, see what has changed on disk since.

    Only modules of handler packages are imported again, and only if the file of one of them has
    changed: modules that others use, and helpers with nothing new, stay as they are.
    """
    importlib.invalidate_caches()
    left = _leftovers.pop(handler, {})
    if any(source.has_changed() for source in left.values()):
        for name in left:
            _forget(name)
        left = {}
    before, began = set(sys.modules), time.time()
    try:
        yield
    except BaseException:
        left |= {name: _source(name, began) for name in _handler_modules() - before}
        if left:
            _leftovers[handler] = left
        raise


def _handler_modules() -> set[str]:
    installed = [config.name for config in apps.get_app_configs()]
    packages = app_settings.HANDLER_PACKAGES
    return {name for name in set(sys.modules) if references.is_inside(name, packages, installed)}


def _source(name: str, imported_at: float) -> _Source:
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    return _Source(path, _stamp(path), imported_at)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _forget(name: str) -> None:
    module = sys.modules.pop(name, None)
    parent, _, child = name.rpartition(".")
    package = sys.modules.get(parent)
    # `from package import child` looks for the attribute before it imports anything.
    if module is not None and getattr(package, child, None) is module:
        delattr(package, child)
