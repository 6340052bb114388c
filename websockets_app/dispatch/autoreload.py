"""Let Django's autoreloader watch the handler packages.

It watches modules that were imported. A handler whose import failed isn't one of them, so that
correcting it would restart nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.utils.autoreload import BaseReloader, autoreload_started

from ..conf import app_settings
from ..core import reference as references


def connect() -> None:
    """Watch from the moment when the autoreloader starts; called once, when the app is ready."""
    autoreload_started.connect(watch_handlers, dispatch_uid="websockets_app.autoreload")


def watch_handlers(sender: BaseReloader, **kwargs: Any) -> None:
    """Watch every file from which a handler may be imported, without importing any."""
    for path in _handler_paths():
        if path.is_dir():
            sender.watch_dir(path, "**/*.py")
        module = path.with_name(f"{path.name}.py")
        if module.is_file():
            sender.extra_files.add(module)


def _handler_paths() -> Iterator[Path]:
    """Yield where the handler packages are, as folders; a module is there as a file instead."""
    for package in app_settings.HANDLER_PACKAGES:
        top, *below = package.split(".")
        for folder in _folders_with(top):
            yield folder.joinpath(top, *below)
    for config in apps.get_app_configs():
        yield Path(config.path).resolve() / references.APP_MODULE


def _folders_with(top: str) -> Iterator[Path]:
    """Yield the folders that hold the top-level package or module `top`."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # it is in sys.modules, and has no spec
        return
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        found = list(spec.submodule_search_locations)
    else:
        found = [spec.origin] if spec.has_location and spec.origin else []
    for path in found:
        yield Path(path).resolve().parent
