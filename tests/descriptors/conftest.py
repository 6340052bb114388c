"""A package of handlers in a folder of the test's own, which is the one standard root."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from websockets_app.descriptors.report import Report, Verb
from websockets_app.descriptors.sync import sync
from websockets_app.dispatch import loader

PACKAGE = "described"


class Folder:
    """A folder with descriptor files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def endpoint(self, name: str, /, **keys: Any) -> Path:
        """Write `<name>.websocket`, which has what the seed's has, and `keys`."""
        given = {"handler": "echo", "endpoint": name.rpartition("/")[2], "description": ""}
        return self.write(f"{name}.websocket", given | keys)

    def client(self, name: str, /, **keys: Any) -> Path:
        given = {"uri": "ws://example.com/", "handler": "echo"}
        return self.write(f"{name}.websocket-client", given | keys)

    def write(self, name: str, given: Any) -> Path:
        return self.write_bytes(name, json.dumps(given).encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def remove(self, name: str) -> None:
        (self.path / name).unlink()


@pytest.fixture
def folder(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    """The folder of the package, whose handlers are `echo` and `other`."""
    settings.BASE_DIR = tmp_path
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": [PACKAGE]}
    monkeypatch.syspath_prepend(tmp_path)
    made = Folder(tmp_path / PACKAGE)
    for name in ("__init__", "echo", "other"):
        made.write_bytes(f"{name}.py", b"def on_message(message):\n    return message\n")
    yield made
    for module in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[module]
    loader.load.cache_clear()


def told(report: Report, *verbs: Verb) -> dict[str, str]:
    """Return the verb of each file, without those that are unchanged."""
    verbs = verbs or tuple(verb for verb in Verb if verb is not Verb.UNCHANGED)
    return {line.file: str(line.verb) for line in report.lines if line.verb in verbs}


def reason(*paths: Path) -> str:
    """Sync, and return why the one bad file is bad."""
    [bad] = sync(paths).bad
    return bad.text
