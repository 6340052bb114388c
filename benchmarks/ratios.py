"""Readings of one contender beside another, mostly by what a message costs the server in CPU."""

from __future__ import annotations

from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import Work


def less_cpu(figure: Figure, ours: Work, theirs: Work) -> Reading:
    """Return how many times as much CPU theirs takes."""
    return _reading(figure, theirs.micros / ours.micros, ours, theirs)


def percent_of(figure: Figure, ours: Work, best: Work) -> Reading:
    """Return how many percent of the best's messages ours handles in the same CPU time."""
    return _reading(figure, 100 * best.micros / ours.micros, ours, best)


def lost(figure: Figure, plain: Work, burdened: Work) -> Reading:
    """Return how many percent of the messages in the same CPU time are lost to a burden."""
    return _reading(figure, 100 * (1 - plain.micros / burdened.micros), plain, burdened)


def faster(figure: Figure, ours: Work, theirs: Work) -> Reading:
    """Return how many times as many messages a second ours handles."""
    return Reading(
        figure=figure,
        value=ours.rate / theirs.rate,
        aside={"{:,.0f}/s": ours.rate, "beside {:,.0f}/s": theirs.rate},
        generator=max(ours.generator, theirs.generator),
    )


def percent_more(figure: Figure, plain: Work, burdened: Work) -> Reading:
    """Return how many percent more CPU it takes with a burden."""
    return _reading(figure, 100 * (burdened.micros / plain.micros - 1), burdened, plain)


def _reading(figure: Figure, value: float, one: Work, other: Work) -> Reading:
    aside = {"{:.1f} µs": one.micros, "beside {:.1f} µs": other.micros}
    return Reading(
        figure=figure, value=value, aside=aside, generator=max(one.generator, other.generator)
    )
