"""The snapshot of served endpoints that each server node matches paths against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..models.patterns import route
from .config import EndpointConfig


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
        self._patterns: list[EndpointConfig] = []

    def __len__(self) -> int:
        return len(self._configs)

    def get(self, endpoint_id: int) -> EndpointConfig | None:
        return self._configs.get(endpoint_id)

    def replace(self, changed: Mapping[int, EndpointConfig], removed: Iterable[int]) -> None:
        """Swap the snapshot: what is matched meanwhile sees the old one whole."""
        gone = set(removed)
        kept = {key: config for key, config in self._configs.items() if key not in gone}
        configs = dict(sorted((kept | dict(changed)).items()))
        self._literals = {
            route(config.endpoint): config
            for config in configs.values()
            if "<" not in config.endpoint and config.pattern is not None
        }
        self._patterns = [config for config in configs.values() if "<" in config.endpoint]
        self._configs = configs
        self.loaded = True

    def match(self, path: str) -> Match | None:
        """Return the oldest endpoint that `path` (as in an ASGI scope) leads to."""
        wanted = path.removeprefix("/")
        literal = self._literals.get(wanted)
        for config in self._patterns:
            if literal is not None and literal.id < config.id:
                break
            if config.pattern is not None and (found := config.pattern.match(wanted)):
                return Match(config, found[2])
        return None if literal is None else Match(literal, {})
