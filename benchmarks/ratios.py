"""Readings of one contender beside another, by the CPU time that a message cost the server."""

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


def times_as_much(figure: Figure, plain: Work, burdened: Work) -> Reading:
    """Return how many times as much CPU it takes with a burden."""
    return _reading(figure, burdened.micros / plain.micros, plain, burdened)


def _reading(figure: Figure, value: float, one: Work, other: Work) -> Reading:
    aside = {"{:.1f} µs": one.micros, "beside {:.1f} µs": other.micros}
    return Reading(
        figure=figure, value=value, aside=aside, generator=max(one.generator, other.generator)
    )
