"""The demo's requirements: bounded, pinned with hashes, and in agreement with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.infrastructure.site import REPOSITORY

PROJECT: Final = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK: Final = (REPOSITORY / "requirements.lock").read_text()
REQUIREMENTS: Final = [
    Requirement(line)
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_each_requirement_of_the_demo_has_an_upper_bound() -> None:
    for requirement in REQUIREMENTS:
        assert any(bound.operator == "<" for bound in requirement.specifier), requirement


def test_the_demo_installs_versions_that_the_app_supports() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["redis"], *extras["postgres"]]
    supported = {canonicalize_name(given.name): given for given in map(Requirement, lines)}
    assert supported.keys() <= {canonicalize_name(given.name) for given in REQUIREMENTS}
    for requirement in REQUIREMENTS:
        if given := supported.get(canonicalize_name(requirement.name)):
            assert set(given.specifier) <= set(requirement.specifier), requirement


def test_the_lock_file_pins_each_requirement_with_hashes() -> None:
    pin = r"^([\w.-]+)==([^\s;]+).*\\((?:\n +--hash=sha256:[0-9a-f]{64}.*)+)"
    pins = re.findall(pin, LOCK, re.M)
    assert len(pins) == len(re.findall(r"^\w", LOCK, re.M))
    for requirement in REQUIREMENTS:
        name = canonicalize_name(requirement.name)
        versions = [version for pinned, version, _ in pins if canonicalize_name(pinned) == name]
        assert versions, f"{name} isn't in requirements.lock: run make lock"
        assert all(version in requirement.specifier for version in versions), requirement
