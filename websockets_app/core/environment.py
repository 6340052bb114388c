"""References to environment variables, `env:NAME`, in the fields of a client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

REFERENCE: Final = re.compile(r"(?<![A-Za-z0-9_])env:([A-Za-z_][A-Za-z0-9_]*)")
_ENTRY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")


def names_in(text: str) -> list[str]:
    """Return the names of the variables that `text` refers to."""
    return list(dict.fromkeys(REFERENCE.findall(text)))


def is_entry(text: str) -> bool:
    """Return whether `text` can stand in `CLIENT_ENVIRONMENT`: a name, or a prefix and `*`."""
    return _ENTRY.fullmatch(text) is not None


class AllowedVariables:
    """The variables that `CLIENT_ENVIRONMENT` lists: names, and prefixes such as `FEED_*`.

    An entry that is neither allows nothing, in particular a lone `*`.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        valid = [entry for entry in entries if is_entry(entry)]
        self._names = frozenset(entry for entry in valid if not entry.endswith("*"))
        self._prefixes = tuple(entry[:-1] for entry in valid if entry.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.startswith(self._prefixes)
