"""The README and the documentation: what they say to do, and the parts that programs write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.infrastructure.site import REPOSITORY

FENCE: Final = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        return re.findall(r"^\$ (.*)$", self.text, re.MULTILINE)

    @property
    def file(self) -> tuple[str, bool]:
        """The file that the first line names, and whether the text goes at its end."""
        found = re.match(r"# (\S+?)(, at its end)?\n", self.text)
        assert found, f"the block names no file:\n{self.text}"
        return found[1], bool(found[2])


def blocks(page: str, heading: str) -> list[Block]:
    """Return the code blocks below a heading of a page, down to the next heading."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    body = re.search(rf"^##+ {re.escape(heading)}\n(.*?)^##+ ", text, re.MULTILINE | re.DOTALL)
    assert body, f"{page} has no heading {heading!r}"
    return [
        Block(language=language, text=re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
        for indent, language, text in FENCE.findall(body[1])
    ]


Rows = Iterable[Sequence[str]]
"""Of a table: its head is the first."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The part of a page that a program writes, between two comments."""

    page: Path
    program: str

    def read(self) -> str:
        """Return the part as it stands."""
        return self._parts()[1]

    def write(self, text: str) -> None:
        """Put lines in the place of those that stand there."""
        before, _, after = self._parts()
        self.page.write_text(f"{before}{self._begin}{text}{self._end}{after}", encoding="utf-8")

    def _parts(self) -> tuple[str, str, str]:
        before, begin, rest = self.page.read_text(encoding="utf-8").partition(self._begin)
        text, end, after = rest.partition(self._end)
        assert begin, f"{self.page} has no line {self._begin}"
        assert end, f"{self.page} has no line {self._end}"
        return before, text, after

    @property
    def _begin(self) -> str:
        return f"<!-- written by python -m {self.program} -->\n"

    @property
    def _end(self) -> str:
        return "<!-- end -->\n"


def drawn(rows: Rows) -> str:
    """Return a table as Markdown."""
    head, *others = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *others))


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of the one table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *others = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return [head, *others]
