"""The table that people read, and the JSON that programs read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.figures import Result

HEADER = ("", "median", "unit", "reach", "lowest", "highest", "", "generator", "with it")
_RIGHT = (False, True, False, True, True, True, False, True, False)


def table(results: Sequence[Result]) -> str:
    """Return the results as text, those of a group below its name."""
    rows = [_row(result) for result in results]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    lines = [_line(HEADER, widths)]
    group = None
    for result, row in zip(results, rows, strict=True):
        if result.figure.group != group:
            group = result.figure.group
            lines += ["", group]
        lines.append(_line(row, widths))
    return "\n".join(lines)


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return the results as values that JSON knows."""
    return [
        {
            "group": result.figure.group,
            "name": result.figure.name,
            "unit": result.figure.unit,
            "at_least": result.figure.at_least,
            "at_most": result.figure.at_most,
            "median": result.median,
            "values": result.values,
            "falls_short": result.falls_short,
            "generator": result.generator,
            "is_invalid": result.is_invalid,
            "with_it": [form.format(value) for form, value in result.aside.items()],
        }
        for result in results
    ]


def _row(result: Result) -> tuple[str, ...]:
    figure = result.figure
    return (
        f"  {figure.name}",
        number(result.median),
        figure.unit,
        figure.reach,
        number(min(result.values)),
        number(max(result.values)),
        result.verdict,
        "" if result.generator is None else f"{result.generator:.0f} %",
        ", ".join(form.format(value) for form, value in result.aside.items()),
    )


def number(value: float) -> str:
    """Return a value with the digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, _RIGHT, strict=True)
    )
    return "  ".join(aligned).rstrip()
