"""The services of an endpoint: modules that its peers may call by name, as in Dirigible 2.x.

A reference names a module, or with `.*` every service below a package: `chat.chat_service`,
`chat.*`. Its engine is `python` unless it begins with the name of another one: `lua:chat.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ..conf import app_settings
from ..core.reference import normalize
from ..exceptions import ConfigurationError, HandlerProblem, NotAService
from .engines import get_engine
from .loader import Callback, load_handle, resolve_typed

PYTHON: Final = "python"
_SHOWN: Final = 5
"""How many problems are described; the others are counted."""


class _Reference(NamedTuple):
    engine: str
    name: str
    is_package: bool
    """Whether every service below the package `name` is meant."""

    def __str__(self) -> str:
        engine = "" if self.engine == PYTHON else f"{self.engine}:"
        return f"{engine}{self.name}{'.*' if self.is_package else ''}"


def resolve_services(references: Iterable[str]) -> list[str]:
    """Return `references` as they are stored, each once; raise `HandlerProblem`."""
    resolved: dict[str, None] = {}
    for engine, name, is_package in map(_parse, references):
        resolved[str(_Reference(engine, resolve_typed(engine, name), is_package))] = None
    return list(resolved)


def load_services(
    references: Iterable[str],
) -> tuple[Mapping[tuple[str, str], Callback], str]:
    """Return what the stored `references` offer, and what can't be offered and why, in words.

    The functions are found by engine and by each normalized name that peers may write. Blocking:
    it imports the modules.
    """
    found: dict[tuple[str, str], Callback] = {}
    problems: list[str] = []
    for reference in map(_parse, references):
        try:
            names = _names(reference)
        except (HandlerProblem, ConfigurationError) as problem:
            problems.append(str(problem))
            continue
        for name in names:
            try:
                found[reference.engine, name] = load_handle(reference.engine, name)
            except NotAService as problem:
                if not reference.is_package:  # which may have other modules, too
                    problems.append(str(problem))
            except (HandlerProblem, ConfigurationError) as problem:
                problems.append(str(problem))
    return _by_spelling(found), _in_words(problems)


def _parse(reference: str) -> _Reference:
    engine, separator, name = reference.strip().partition(":")
    if not separator:
        engine, name = PYTHON, engine
    package = name.removesuffix(".*").removesuffix("/*")
    return _Reference(engine, package, package != name)


def _names(reference: _Reference) -> list[str]:
    if not reference.is_package:
        return [reference.name]
    discovered = get_engine(reference.engine).discover()
    names = [name for name in discovered if name.startswith(f"{reference.name}.")]
    if not names:
        raise NotAService(f"{str(reference)!r} offers nothing: there is no module below it.")
    return names


def _by_spelling(
    callbacks: Mapping[tuple[str, str], Callback],
) -> dict[tuple[str, str], Callback]:
    """Add the names that are written below a handler package; the first package wins."""
    table = {(engine, normalize(name)): found for (engine, name), found in callbacks.items()}
    for package in app_settings.HANDLER_PACKAGES:
        for (engine, name), callback in callbacks.items():
            if name.startswith(f"{package}."):
                below = name.removeprefix(f"{package}.")
                table.setdefault((engine, normalize(below)), callback)
    return table


def _in_words(problems: list[str]) -> str:
    more = [f"And {len(problems) - _SHOWN} more."] if len(problems) > _SHOWN else []
    return " ".join([*problems[:_SHOWN], *more])
