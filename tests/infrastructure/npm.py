"""Packages of npm, installed once into a folder of the machine's cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infrastructure.waiting import SCALE

HOW_TO_GET_IT = (
    "No npm package {}: {}. Install Node.js and npm (Debian: apt-get install nodejs npm)."
)


def npm_package_or_skip(package: str) -> Path:
    """Return a folder whose programs can require `package`.

    Where it can't be had, skip the test, or fail it where `CI` is true.
    """
    if (problem := _missing_program() or _installed(package)) and os.environ.get("CI") == "true":
        pytest.fail(HOW_TO_GET_IT.format(package, problem))
    if problem:
        pytest.skip(HOW_TO_GET_IT.format(package, problem))
    return _cache()


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "django-websockets-app-tests"


def _missing_program() -> str:
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"there is no {missing[0]}" if missing else ""


def _installed(package: str) -> str:
    """Install `package` where it isn't yet, one process at a time; return why it can't be."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "node_modules" / package / "package.json").exists():
            return ""
        command = ["npm", "install", "--no-audit", "--no-fund", package]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=60 * SCALE, check=False
        )
    return done.stderr.strip() if done.returncode else ""
