"""What servers use while nobody says anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.cpu import Watch
from benchmarks.figures import Figure, Reading
from benchmarks.stage import Running
from tests.infrastructure.waiting import eventually

PERCENT_OF_A_CORE: Final = 1.0


def beyond(figure: Figure, plain: Running, burdened: Running, quick: bool) -> Reading:
    """Return what a burden costs, in percent of a core: both are watched at the same time."""
    less, more = _percents([plain, burdened], 1.5 if quick else 5.0)
    return Reading(
        figure=figure,
        value=more - less,
        aside={"{:.2f} %": more, "beside {:.2f} %": less},
    )


def _percents(running: Sequence[Running], seconds: float) -> list[float]:
    watches = [Watch(server=one.server.pid) for one in running]
    eventually(lambda: watches[-1].stop().seconds >= seconds, 2 * seconds)
    return [watch.stop().percent("server") for watch in watches]
