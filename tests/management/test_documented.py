"""The reference of commands names each, with all its options, and no other."""

from __future__ import annotations

import re
from pkgutil import iter_modules

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from tests.infrastructure.site import REPOSITORY
from websockets_app.management import commands

NAMES = sorted(module.name for module in iter_modules(commands.__path__))
PAGE = REPOSITORY / "docs" / "reference" / "commands.md"


def sections() -> dict[str, str]:
    """Return what the page says of each command."""
    parts = re.split(r"^## `(\w+)`\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options(name: str) -> set[str]:
    """Return the options that are the command's own."""

    def strings(command: BaseCommand) -> set[str]:
        parser = command.create_parser("manage.py", name)
        return {string for action in parser._actions for string in action.option_strings}

    return strings(load_command_class("websockets_app", name)) - strings(BaseCommand())


def test_every_command_is_told_and_no_other() -> None:
    assert sorted(sections()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_told(name: str) -> None:
    told = set(re.findall(r"`(--[\w-]+)", sections().get(name, "")))
    assert options(name) <= told
