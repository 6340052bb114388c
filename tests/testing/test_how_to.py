"""The examples of docs/how-to/test-a-handler.md, collected and run as they stand there."""

from __future__ import annotations

import re
import sys
from types import ModuleType

from tests.infrastructure.site import REPOSITORY

_PAGE = REPOSITORY / "docs" / "how-to" / "test-a-handler.md"


def _examples() -> list[tuple[str, str]]:
    """Return the page's blocks of Python, each with the file that its first line names."""
    text = _PAGE.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```python\n(?:# (\S+\.py)\n)?(.*?)^```", text, re.M | re.S):
        above = text[: match.start(2)].count("\n")  # so that a failure names the page's line
        found.append((match[1] or "", "\n" * above + match[2]))
    return found


for _file, _source in _examples():
    _namespace = globals()
    if _file.startswith("handlers/"):
        _name = _file.removesuffix(".py").replace("/", ".")
        sys.modules[_name] = ModuleType(_name)
        _namespace = vars(sys.modules[_name])
    exec(compile(_source, str(_PAGE), "exec"), _namespace)  # noqa: S102


def test_the_page_has_examples_of_every_kind() -> None:
    assert {"GreeterTests", "AsyncGreeterTests", "GreeterEndpointTests"} <= globals().keys()
    assert {"test_a_room_greets", "test_a_path_that_leads_nowhere"} <= globals().keys()
