"""What a run did or would do, in lines for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ..core.text import tame

_LENGTH: Final = 2000


class Verb(StrEnum):
    """What became of a row or a file."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    GONE = "gone"
    DELETED = "deleted"
    WRITTEN = "written"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """One file, and what became of it."""

    verb: Verb
    file: str
    text: str = ""

    def __str__(self) -> str:
        told = f"{self.verb}: {self.file}"
        # What files and rows say must not begin a line of its own, nor steer a terminal.
        return tame(f"{told}: {self.text}" if self.text else told, _LENGTH)


@dataclass(kw_only=True)
class Report:
    """What became of each file, in the order in which it happened."""

    verbs: tuple[Verb, ...]
    """What the summary counts."""
    files: dict[str, Line] = field(default_factory=dict)

    def add(self, verb: Verb, file: str, text: str = "") -> None:
        """Tell of `file`, once: what was told first holds."""
        self.files.setdefault(file, Line(verb, file, text))

    @property
    def lines(self) -> list[Line]:
        return list(self.files.values())

    def of(self, verb: Verb) -> list[Line]:
        return [line for line in self.lines if line.verb is verb]

    @property
    def bad(self) -> list[Line]:
        return self.of(Verb.BAD)

    @property
    def worth_telling(self) -> list[Line]:
        return [line for line in self.lines if line.verb not in (Verb.UNCHANGED, Verb.BAD)]

    @property
    def summary(self) -> str:
        counted = Counter(line.verb for line in self.lines)
        return ", ".join(f"{counted[verb]} {verb}" for verb in self.verbs) + "."
