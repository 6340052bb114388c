"""Every check is in the reference, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.infrastructure.site import REPOSITORY

ID = re.compile(r"websockets_app\.[EWI]\d{3}")
SOURCES = (REPOSITORY / "websockets_app" / "checks").glob("*.py")
PAGE = REPOSITORY / "docs" / "reference" / "checks.md"


def ids(*paths: Path) -> set[str]:
    return {found for path in paths for found in ID.findall(path.read_text(encoding="utf-8"))}


def test_the_reference_lists_each_check() -> None:
    assert ids(*SOURCES) == ids(PAGE)
