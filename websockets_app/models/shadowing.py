"""Which endpoints take paths from which: where two patterns match, the older row wins."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from ..exceptions import InvalidEndpoint
from .endpoint import Endpoint
from .patterns import Capture, EndpointPattern, Segment, compile_route, route

_SAMPLES: Final = (
    "0",
    "17",
    "a",
    "A-1",
    "x_y",
    "é b.c",
    "a/b",
    "0b9d0c5e-6d0c-4a66-8a55-2f4d0a7b4c11",
)
"""Values that tell Django's converters, and most others, from each other."""

_MOST_PATHS: Final = 10_000


class Overlap(StrEnum):
    """How much of an endpoint an older one takes."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """An endpoint that shares paths with another."""

    endpoint: Endpoint
    whole: bool
    """Whether the newer of the two is never reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadows:
    """What the other enabled endpoints mean for one, and it for them."""

    by: list[Shadow]
    """Older endpoints, which win."""
    over: list[Shadow]
    """Newer endpoints, which lose."""


def overlap(older: str, newer: str) -> Overlap:
    """Return how many of the paths of endpoint `newer` lead to endpoint `older` instead.

    Worked out on sample paths: each converter of `newer` takes values of every usual kind, and
    the parts of `older` itself. Two patterns that only a rare value tells apart count as `ALL`.
    """
    if not _may_meet(route(older), route(newer)):
        return Overlap.NONE
    try:
        winner, loser = compile_route(older), compile_route(newer)
    except InvalidEndpoint:
        return Overlap.NONE
    taken = {winner.match(path) is not None for path in _paths(loser, _parts(winner))}
    if taken == {True}:
        return Overlap.ALL
    return Overlap.SOME if True in taken else Overlap.NONE


def shadows_of(endpoint: Endpoint) -> Shadows:
    """Return which enabled endpoints shadow `endpoint`, and which it shadows while enabled."""
    others = Endpoint.objects.served().exclude(pk=endpoint.pk).prefetch_related(None)
    by: list[Shadow] = []
    over: list[Shadow] = []
    for other in others:
        older, newer = sorted((endpoint, other), key=lambda row: row.pk)
        found = overlap(older.endpoint, newer.endpoint)
        if found is not Overlap.NONE:
            shadow = Shadow(endpoint=other, whole=found is Overlap.ALL)
            (by if other is older else over).append(shadow)
    return Shadows(by=by, over=over)


def never_reached(endpoints: Iterable[Endpoint]) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Yield each endpoint that an older one shadows wholly, with the older one."""
    older: list[Endpoint] = []
    for newer in sorted(endpoints, key=lambda row: row.pk):
        for winner in older:
            if overlap(winner.endpoint, newer.endpoint) is Overlap.ALL:
                yield newer, winner
                break
        older.append(newer)


def _may_meet(one: str, other: str) -> bool:
    """Tell cheaply, by what stands before the first converter, if a path can match both."""
    first, second = one.partition("<")[0], other.partition("<")[0]
    return first.startswith(second) or second.startswith(first)


def _paths(pattern: EndpointPattern, also: Iterable[str] = ()) -> Iterator[str]:
    """Yield paths that `pattern` matches."""
    samples = (*_SAMPLES, *also)
    values = [_texts(segment, samples) for segment in pattern.segments]
    for texts in _combinations(values):
        yield pattern.beginning + "/".join(texts) + pattern.end


def _combinations(values: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Return combinations of one item of each sequence: all, or an even sample of them."""
    if math.prod(map(len, values)) <= _MOST_PATHS:
        return product(*values)
    chosen = random.Random(0).choices  # noqa: S311 - the same sample each time
    return zip(*(chosen(column, k=_MOST_PATHS) for column in values), strict=True)


def _parts(pattern: EndpointPattern) -> list[str]:
    """Return runs of whole segments of one path of `pattern`: what another's value may be."""
    segments = next(_paths(pattern), "").split("/")
    return [
        "/".join(segments[start:end])
        for start in range(len(segments))
        for end in range(start + 1, len(segments) + 1)
    ]


def _texts(segment: Segment, samples: Iterable[str]) -> tuple[str, ...]:
    """Return what `segment` may be in a path, with those of `samples` that it captures."""
    before, capture, after = segment
    if capture is None:
        return (before,)
    values = dict.fromkeys(sample for sample in samples if _accepts(capture, sample))
    return tuple(before + value + after for value in values)


def _accepts(capture: Capture, sample: str) -> bool:
    if not sample or ("/" in sample and not capture.takes_slashes) or not capture.accepts(sample):
        return False
    try:
        capture.converter.to_python(sample)
    except ValueError:
        return False
    return True
