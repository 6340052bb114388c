"""What a generator is told, and what it answers: both cross its pipes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

SIZE: Final = 64
"""Characters of a message, unless said otherwise."""
MESSAGE: Final = "x" * SIZE
SLICE_SECONDS: Final = 0.25
"""How long one contender is talked to before it is another's turn."""


def slices(quick: bool) -> int:
    """Return how many turns each contender has in a round."""
    return 3 if quick else 7


@dataclass(frozen=True, kw_only=True)
class Load:
    """Connections to one URL, and what is said over them."""

    url: str
    pid: int
    """The server's process, whose CPU time is read."""
    connections: int
    idle: int = 0
    """So many of the connections say nothing."""
    in_flight: int = 1
    """Messages of a connection under way at once."""
    message: str = MESSAGE
    mark: str = MESSAGE
    """What every answer has to contain."""
    seconds: float = 1.0
    times: int = 1
    """How often a broadcast reaches everyone."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What was done in a stretch of time, and what it cost the server and the generator."""

    done: int
    """Messages answered, connections opened, or broadcasts received."""
    seconds: float
    server_cpu: float
    generator_cpu: float
    p50: float = 0.0
    p99: float = 0.0
    """Seconds from a message to its answer."""

    @property
    def micros(self) -> float:
        """Return the server's CPU time for each, in microseconds."""
        return 1e6 * self.server_cpu / self.done

    @property
    def rate(self) -> float:
        """Return how many a second."""
        return self.done / self.seconds

    @property
    def generator(self) -> float:
        """Return the generator's share of its core, in percent."""
        return 100 * self.generator_cpu / self.seconds


def median(works: Sequence[Work]) -> Work:
    """Return the one whose CPU time for each is in the middle."""
    return sorted(works, key=lambda work: work.micros)[len(works) // 2]
