"""What is measured: a figure is a row of the table, a reading one round's value of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

GENERATOR_LIMIT: Final = 90.0
"""Percent of its core above which the generator may be what was measured."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row of the table, and its reach: what the median has to come to."""

    group: str
    name: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reach(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}"
        return "" if self.at_most is None else f"≤ {self.at_most:,g}"

    def is_reached_by(self, value: float) -> bool:
        too_low = self.at_least is not None and value < self.at_least
        too_high = self.at_most is not None and value > self.at_most
        return not (too_low or too_high)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One round's value, and what went with it, by a format: ``{"runner {:.0f} %": 61.3}``."""

    figure: Figure
    value: float
    aside: Mapping[str, float] = field(default_factory=dict)
    generator: float | None = None
    """Percent of its core that the generator had, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The readings of a figure over all rounds."""

    figure: Figure
    values: tuple[float, ...]
    aside: Mapping[str, float]
    generator: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def falls_short(self) -> bool:
        return not self.figure.is_reached_by(self.median)

    @property
    def is_invalid(self) -> bool:
        """Whether the generator, not the server, may have been what limits."""
        return self.generator is not None and self.generator > GENERATOR_LIMIT

    @property
    def verdict(self) -> str:
        """Return what is wrong with it, or an empty string."""
        if self.is_invalid:
            return "INVALID"
        return "SHORT" if self.falls_short else ""


def results_of(readings: Iterable[Reading]) -> list[Result]:
    """Put the readings of each figure together, in the order in which the figures came."""
    together: dict[Figure, list[Reading]] = {}
    for reading in readings:
        together.setdefault(reading.figure, []).append(reading)
    return [_result(figure, found) for figure, found in together.items()]


def _result(figure: Figure, readings: list[Reading]) -> Result:
    shares = [reading.generator for reading in readings if reading.generator is not None]
    return Result(
        figure=figure,
        values=tuple(reading.value for reading in readings),
        aside={
            form: statistics.median(reading.aside[form] for reading in readings)
            for form in readings[0].aside
        },
        generator=statistics.median(shares) if shares else None,
    )
