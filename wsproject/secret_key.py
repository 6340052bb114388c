"""A secret key for development: sessions outlive a restart, and the repository holds no key."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def read_or_create_secret_key(path: Path) -> str:
    """Return the key kept at ``path``, making one that only this user can read if there is none.

    Two processes that start together agree on the key: it is written aside and put in place
    by ``link``, which one of them wins.
    """
    if not path.exists():
        _create(path)
    return path.read_text(encoding="ascii").strip()


def _create(path: Path) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.touch(mode=0o600)
    aside.write_text(get_random_secret_key(), encoding="ascii")
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
