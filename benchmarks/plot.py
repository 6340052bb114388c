"""The plot: how far each figure is beyond its reach, or short of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Result

REACHED, SHORT, INVALID = "#2a7f62", "#c0392b", "#8a8a8a"
BOUNDS: Final = (0.1, 10.0)
INCHES_OF_A_BAR: Final = 0.3


def margin(result: Result) -> float | None:
    """Return the median as a multiple of the reach, above 1 where it is better; None without one.

    Between the bounds of the plot: what is at or below zero has no place on its scale.
    """
    figure, lowest, highest = result.figure, *BOUNDS
    if figure.at_least is not None:
        beyond = result.median / figure.at_least
    elif figure.at_most is not None:
        beyond = highest if result.median <= 0 else figure.at_most / result.median
    else:
        return None
    return min(max(beyond, lowest), highest)


def draw(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw a bar for each result that has a reach, and write the picture to `path`."""
    import matplotlib

    matplotlib.use("Agg")  # no window
    from matplotlib import pyplot

    bars = [(result, beyond) for result in results if (beyond := margin(result)) is not None]
    figure, axes = pyplot.subplots(
        figsize=(11, 1.5 + INCHES_OF_A_BAR * len(bars)), layout="constrained"
    )
    labels = [f"{result.figure.group}: {result.figure.name}" for result, _ in bars]
    lengths = [beyond - 1 for _, beyond in bars]
    axes.barh(labels, lengths, left=1, color=[_colour(result) for result, _ in bars])
    axes.set(xscale="log", xlim=BOUNDS, title=title, xlabel="times its reach; better to the right")
    axes.axvline(1, color="black", linewidth=1)
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.invert_yaxis()
    _tell_medians(axes, bars)
    figure.savefig(path)
    pyplot.close(figure)


def _tell_medians(axes: Any, bars: Sequence[tuple[Result, float]]) -> None:
    """Write what was measured on the side of the line where the bar is not."""
    for row, (result, beyond) in enumerate(bars):
        told = f" {result.median:,.3g} {result.figure.unit} ({result.figure.reach}) "
        axes.text(1, row, told, ha="left" if beyond < 1 else "right", va="center", fontsize=8)


def _colour(result: Result) -> str:
    if result.is_invalid:
        return INVALID
    return SHORT if result.falls_short else REACHED
