"""The snapshot of served endpoints that each server node matches paths against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from ..models.patterns import route
from .config import EndpointConfig

MAX_PATH_LENGTH: Final = 2048
"""Characters of a decoded path; no endpoint has a longer one."""


class Match(NamedTuple):
    """An endpoint, and what its pattern captured from the path."""

    config: EndpointConfig
    params: Mapping[str, Any]


class Registry:
    """Endpoints by path. Where two match, the older (the lower primary key) wins."""

    def __init__(self) -> None:
        self.loaded = False
        """Whether the table was ever read: before, no path can be called unknown."""
        self._configs: dict[int, EndpointConfig] = {}
        self._literals: dict[str, EndpointConfig] = {}
        self._patterns: dict[str, list[EndpointConfig]] = {}  # by how they begin, literally
        self._lengths: list[int] = []  # of those beginnings

    def __len__(self) -> int:
        return len(self._configs)

    def get(self, endpoint_id: int) -> EndpointConfig | None:
        return self._configs.get(endpoint_id)

    def replace(self, changed: Mapping[int, EndpointConfig], removed: Iterable[int]) -> None:
        """Swap the snapshot: what is matched meanwhile sees the old one whole."""
        gone = set(removed)
        kept = {key: config for key, config in self._configs.items() if key not in gone}
        configs = dict(sorted((kept | dict(changed)).items()))
        literals: dict[str, EndpointConfig] = {}
        patterns: defaultdict[str, list[EndpointConfig]] = defaultdict(list)
        for config in configs.values():  # the oldest first
            if "<" in config.endpoint:
                patterns[route(config.endpoint).partition("<")[0]].append(config)
            elif config.pattern is not None:
                literals.setdefault(route(config.endpoint), config)
        self._lengths = sorted({len(beginning) for beginning in patterns})
        self._literals, self._patterns = literals, dict(patterns)
        self._configs = configs
        self.loaded = True

    def match(self, path: str) -> Match | None:
        """Return the oldest endpoint that matches `path`, the path below the script name.

        If none does, return the oldest whose pattern can't be served and begins as `path` does:
        its refusal names the row's problem.
        """
        if not path.startswith("/") or len(path) > MAX_PATH_LENGTH:
            return None
        wanted = path[1:]
        literal = self._literals.get(wanted)
        unservable: EndpointConfig | None = None
        for config in self._patterns_for(wanted):
            if literal is not None and literal.id < config.id:
                break
            if config.pattern is None:
                unservable = unservable or config
            elif (params := config.pattern.match(wanted)) is not None:
                return Match(config, params)
        found = literal or unservable
        return None if found is None else Match(found, {})

    def _patterns_for(self, path: str) -> list[EndpointConfig]:
        """Return the patterns that begin as `path` does, the oldest first; no other is touched."""
        found: list[EndpointConfig] = []
        for length in self._lengths:
            if length > len(path):
                break
            found += self._patterns.get(path[:length], ())
        return sorted(found, key=attrgetter("id"))
