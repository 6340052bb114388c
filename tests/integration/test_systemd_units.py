"""The units of the documentation: systemd takes them, and what they start takes its arguments."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from django.core.management import load_command_class

from tests.infrastructure.documents import FENCE
from tests.infrastructure.site import REPOSITORY

pytestmark = pytest.mark.integration

UNIT = re.compile(r"# /etc/systemd/system/(\S+)\n")
PYTHON = "/srv/mysite/.venv/bin/python"


def units() -> dict[str, str]:
    """Return the units of all pages by their names."""
    found = {}
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        for _, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "ini" and (name := UNIT.match(text)):
                found[f"{page.stem}/{name[1]}"] = text
    return found


UNITS = units()


def test_there_are_units_on_both_pages() -> None:
    assert {name.partition("/")[0] for name in UNITS} == {
        "deploy-behind-nginx", "run-in-production",
    }  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_it(name: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("There is no systemd-analyze, which Debian's package systemd has.")
    file = name.partition("/")[2].replace("@.", "@8000.")
    unit = tmp_path / file
    unit.write_text(UNITS[name].replace(PYTHON, sys.executable), encoding="utf-8")
    command = [program, "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if file in line]
    assert told == []


def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    name = next(iter(UNITS))
    UNITS["wrong/wrong.service"] = UNITS[name].replace("Restart=always", "Restart=perhaps")
    try:
        with pytest.raises(AssertionError, match="perhaps"):
            test_systemd_finds_nothing_wrong_with_it("wrong/wrong.service", tmp_path)
    finally:
        del UNITS["wrong/wrong.service"]


@pytest.mark.parametrize("name", UNITS)
def test_the_command_that_it_starts_knows_its_arguments(name: str) -> None:
    parser = RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNITS[name].replace("\\\n", ""))
    service = parser["Service"]
    assert int(service.get("TimeoutStopSec", "90")) >= 30  # longer than SHUTDOWN_TIMEOUT
    for key in ("ExecStart", "ExecStop"):
        words = shlex.split(service.get(key, "").lstrip("-"))
        if "manage.py" in words:
            assert words[:2] == [PYTHON, "manage.py"]
            command = load_command_class("websockets_app", words[2])
            options = command.create_parser("manage.py", words[2]).parse_args(words[3:])
            assert float(vars(options).get("over", 0)) < int(service["TimeoutStopSec"])
