"""The documentation names what there is, and nothing else."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import pytest

from tests.infrastructure.site import REPOSITORY
from websockets_app import websockets
from websockets_app.core.states import ClientState, CloseCause, EventKind

DOCS = REPOSITORY / "docs"


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("values", [CloseCause, EventKind])
def test_every_kind_and_cause_is_told(values: type[StrEnum]) -> None:
    told = re.findall(r"`(\w+)`", read("reference/events.md"))
    assert set(values) <= set(told)


def test_every_state_of_a_client_is_told() -> None:
    terms = re.findall(r"^(\w+)\n: ", read("topics/clients.md"), re.MULTILINE)
    assert set(terms) == set(ClientState)


def test_every_name_of_the_api_is_told() -> None:
    told = re.findall(
        r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", read("reference/api.md"), re.MULTILINE
    )
    assert set(websockets.__all__) <= set(told)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_the_python_in_the_docs_compiles(page: Any) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec")
