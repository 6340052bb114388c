"""The README and the documentation, as lists of things to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
