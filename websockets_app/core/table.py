"""Text in columns, as wide as a terminal and no wider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from unicodedata import combining, east_asian_width

GAP: Final = "  "
ROOM: Final = 24


def table(
    columns: Mapping[str, Sequence[str]], width: int, spare: Iterable[str] = ()
) -> list[str]:
    """Return `columns`, by their titles, as lines that are cut where they end after `width`.

    The last column gets what the others leave it. Where that is too little, columns of `spare` are
    left out, the first ones first.
    """
    kept = {title: [title, *cells] for title, cells in columns.items()}
    for title in spare:
        *taken, last = map(_widest, kept.values())
        if sum(taken) + len(GAP) * len(taken) + min(last, ROOM) <= width:
            break
        del kept[title]
    return [cut(line, width) for line in aligned(zip(*kept.values(), strict=True))]


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return `rows` as lines in which their cells stand below each other."""
    listed = list(rows)
    widths = [_widest(column) for column in zip(*listed, strict=True)]
    return [
        GAP.join(
            cell + " " * (width - breadth(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in listed
    ]


def cut(text: str, width: int) -> str:
    """Return `text` in `width` columns of a terminal at most, with an ellipsis where it is cut."""
    if breadth(text) <= width:
        return text
    while text and breadth(text) >= width:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""


def breadth(text: str) -> int:
    """Return how many columns of a terminal `text` takes, as far as Unicode tells."""
    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        for character in text
    )


def _widest(cells: Iterable[str]) -> int:
    return max(map(breadth, cells), default=0)
