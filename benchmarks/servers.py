"""The servers that a stage can start: each as the documentation advises, and without its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.infrastructure.site import Site
from tests.servers.stage import Kind

_UVICORN: Final = ("--log-level", "warning", "--loop")

UVICORN: Final = Kind(
    "Uvicorn, `websockets-sansio`", Site.start_uvicorn, (*_UVICORN, "uvloop"),
)  # fmt: skip
COMPARED: Final = (
    UVICORN,
    Kind(
        "Uvicorn, `websockets`",
        Site.start_uvicorn, (*_UVICORN, "uvloop", "--ws", "websockets"),
    ),
    Kind(
        "Uvicorn, `wsproto`",
        Site.start_uvicorn, (*_UVICORN, "uvloop", "--ws", "wsproto"),
    ),
    Kind(
        "Uvicorn, `websockets-sansio`, without uvloop",
        Site.start_uvicorn, (*_UVICORN, "asyncio"),
    ),
    Kind("Granian", Site.start_granian, ("--loop", "uvloop", "--log-level", "warning")),
    Kind(
        "Hypercorn",
        Site.start_hypercorn, ("--worker-class", "uvloop", "--log-level", "WARNING"),
    ),
    Kind("Daphne", Site.start_daphne, ("-v", "0")),
)  # fmt: skip
"""All on uvloop, where nothing else is said; Daphne has no option for it."""

SERVERS: Final[Mapping[str, Kind]] = {
    "uvicorn": UVICORN,
    **{kind.title: kind for kind in COMPARED},
}
"""By the name that a stage is given."""
