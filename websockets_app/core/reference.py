"""Handler references: their spellings, and which of them may ever be imported.

One module can be written `my_project.ws_handler`, `my-project/ws-handler`,
`/my-project/ws-handler.py` or, as the seed's files have it, `….js`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ..exceptions import HandlerNotAllowed

APP_MODULE: Final = "websocket_handlers"
_SUFFIXES: Final = ("py", "js")
_SUFFIX: Final = re.compile(r"\.(py|js)$")


def normalize(reference: str) -> str:
    """Return `reference` as a dotted name, whichever way it is written; nothing is checked."""
    written = _SUFFIX.sub("", reference.strip().removeprefix("/"))
    return written.replace("/", ".").replace("-", "_")


def split(reference: str) -> tuple[str, ...]:
    """Split a reference in any of its spellings into the names of its modules.

    Raises `HandlerNotAllowed` if they aren't public, once `-` stands for `_`.
    """
    parts = tuple(normalize(reference).split("."))
    if flaw := why_not_public(parts):
        raise HandlerNotAllowed(
            f"{reference!r} is no handler reference: {flaw}. "
            "Write it as my_project.ws_handler or my-project/ws-handler."
        )
    return parts


def why_not_public(parts: Sequence[str]) -> str:
    """Return which of these module names no handler may have, or an empty string.

    Refused are an empty part, anything else that is no identifier, a leading underscore
    (`__main__` and `__init__` included), and `py` or `js` at the end: as a dotted name that would
    read as a suffix.
    """
    for part in parts:
        if not part.isidentifier() or part.startswith("_"):
            return f"{part!r} is no public module name"
    return f"no handler module can be named {parts[-1]!r}" if parts[-1] in _SUFFIXES else ""


def candidates(reference: str, packages: Sequence[str], apps: Iterable[str]) -> tuple[str, ...]:
    """Return the absolute dotted names that `reference` may mean, in the order to look them up.

    It is absolute if it starts with one of `packages` or is `<app>.websocket_handlers[.…]` for
    one of `apps`; otherwise it is looked for below each of `packages`. Nothing else can be meant.
    """
    parts = split(reference)
    name = ".".join(parts)
    if any(is_below(name, package) for package in (*packages, *app_modules(apps))):
        return (name,)
    if not packages:
        raise HandlerNotAllowed(
            f"{reference!r} is not allowed: the setting WEBSOCKETS['HANDLER_PACKAGES'] is empty."
        )
    return tuple(f"{package}.{name}" for package in packages)


def is_allowed(name: str, packages: Iterable[str], apps: Iterable[str]) -> bool:
    """Tell whether the absolute dotted `name` is a public module inside the allow-list."""
    return any(
        name == package
        or (is_below(name, package) and not why_not_public(name[len(package) + 1 :].split(".")))
        for package in (*packages, *app_modules(apps))
    )


def is_inside(name: str, packages: Iterable[str], apps: Iterable[str]) -> bool:
    """Tell whether the module `name`, public or private, lies inside the allow-list."""
    return any(is_below(name, package) for package in (*packages, *app_modules(apps)))


def app_modules(apps: Iterable[str]) -> list[str]:
    """Return the handler module or package that each installed app may have."""
    return [f"{app}.{APP_MODULE}" for app in apps]


def is_below(name: str, package: str) -> bool:
    """Tell whether `name` is `package` or a module inside it."""
    return name == package or name.startswith(f"{package}.")
