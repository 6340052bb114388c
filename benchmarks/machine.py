"""What a figure was measured on: without it, it says nothing."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

SERVERS = ("Uvicorn", "uvloop", "h11", "wsproto", "Granian", "Hypercorn", "Daphne", "autobahn")
_PACKAGES = ("Django", "channels", "websockets", "psycopg", *SERVERS)

_SYNCS = 100


def description(directory: Path) -> dict[str, str]:
    """Name the machine, the disk below `directory`, and the versions of what runs on it."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "disk": f"{1000 * _sync_seconds(directory):.2g} ms/fdatasync",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _sync_seconds(directory: Path) -> float:
    """Return how long the disk takes to keep a page for sure: what a commit waits for."""
    with (directory / "synced").open("wb", buffering=0) as file:
        file.write(bytes(8192))
        began = time.monotonic()
        for _ in range(_SYNCS):
            file.seek(0)
            file.write(bytes(8192))
            os.fdatasync(file.fileno())
        return (time.monotonic() - began) / _SYNCS
