"""Engines: what turns a handler reference into something callable; `python` is built in."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final, Protocol

from django.apps import apps
from django.utils.module_loading import import_string

from ..conf import app_settings
from ..core import reference as references
from ..core.exception_texts import text_of
from ..exceptions import (
    ConfigurationError,
    HandlerImportFailed,
    HandlerNotAllowed,
    HandlerNotFound,
    UnknownEngine,
)
from ..redaction import clean

FUNCTIONS: Final = ("on_open", "on_message", "on_error", "on_close", "may_open")
"""The names that a handler may define: the callbacks, and the question before them."""

HANDLE: Final = "handle"
"""What a module defines to be called by name, as a 2.x service."""

SERVICE_HANDLER: Final = "websockets_app.websocket_handlers"
"""The handler of endpoints whose peers call services."""


class Engine(Protocol):
    """Finds and loads the handlers written for it."""

    def resolve(self, reference: str) -> str:
        """Return the one spelling of `reference` that is stored; raise `HandlerProblem`."""

    def load(self, name: str) -> Mapping[str, Callable[..., Any]]:
        """Return the functions of the handler `name`, by name; raise `HandlerProblem`."""

    def discover(self) -> list[str]:
        """Return the names of the handlers that there are, for people to choose from."""


class PythonEngine:
    """Handlers are modules, of the packages that `HANDLER_PACKAGES` and installed apps allow."""

    def resolve(self, reference: str) -> str:
        tried = references.candidates(reference, app_settings.HANDLER_PACKAGES, _installed_apps())
        for name in tried:
            if _exists(name):
                return name
        raise HandlerNotFound(
            f"No handler {reference!r}: looked for {', '.join(tried)}. "
            "Handlers live below WEBSOCKETS['HANDLER_PACKAGES'] and in apps' websocket_handlers."
        )

    def load(self, name: str) -> Mapping[str, Callable[..., Any]]:
        packages = app_settings.HANDLER_PACKAGES
        if not references.is_allowed(name, packages, _installed_apps()):
            raise HandlerNotAllowed(
                f"{name!r} may not be imported: it is no public module below "
                f"WEBSOCKETS['HANDLER_PACKAGES'] ({', '.join(packages)}) or an installed app's "
                "websocket_handlers."
            )
        module = _import(name)
        found = {function: getattr(module, function, None) for function in (*FUNCTIONS, HANDLE)}
        return {function: value for function, value in found.items() if callable(value)}

    def discover(self) -> list[str]:
        packages, installed = app_settings.HANDLER_PACKAGES, _installed_apps()
        names: set[str] = set()
        for package in (*packages, *references.app_modules(installed)):
            names.update(_modules_below(package))
        return sorted(name for name in names if references.is_allowed(name, packages, installed))


@cache
def _engine(path: str) -> Engine:
    engine: Engine = import_string(path)()
    return engine


def get_engine(name: str) -> Engine:
    """Return the engine `name`; raise `UnknownEngine` where `WEBSOCKETS['ENGINES']` lacks it."""
    path = app_settings.ENGINES.get(name)
    if path is None:
        known = ", ".join(sorted(app_settings.ENGINES))
        raise UnknownEngine(f"No engine {name!r}: WEBSOCKETS['ENGINES'] has {known}.")
    try:
        return _engine(path)
    except ImportError as error:
        raise ConfigurationError(f"WEBSOCKETS['ENGINES'][{name!r}]: {error}") from error


def _installed_apps() -> list[str]:
    return [config.name for config in apps.get_app_configs()]


def _exists(name: str) -> bool:
    if name in sys.modules:
        return True
    importlib.invalidate_caches()  # the file may have been written just now
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if _is_missing(name, error):
            return False
        raise HandlerImportFailed(_told(name, error)) from error
    except (Exception, SystemExit) as error:
        raise HandlerImportFailed(_told(name, error)) from error


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if _is_missing(name, error):
            raise HandlerNotFound(f"No module {name!r}.") from error
        raise HandlerImportFailed(_told(name, error)) from error
    except (Exception, SystemExit) as error:
        raise HandlerImportFailed(_told(name, error)) from error


def _is_missing(name: str, error: ModuleNotFoundError) -> bool:
    """Tell a missing handler (or package of it) from a handler that misses something else."""
    return error.name is not None and references.is_below(name, error.name)


def _told(name: str, error: BaseException) -> str:
    return f"{name!r} can't be imported: {type(error).__name__}: {clean(text_of(error))}"


def _modules_below(package: str) -> Iterator[str]:
    """Yield the modules that `package` has, without importing more than packages."""
    try:
        spec = importlib.util.find_spec(package)
    except (Exception, SystemExit):  # a package that can't be imported hides no other
        return
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        yield package
        return
    for module in pkgutil.iter_modules(spec.submodule_search_locations, f"{package}."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        if module.ispkg:
            yield from _modules_below(module.name)
        else:
            yield module.name
