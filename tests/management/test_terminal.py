"""No command lets what a row holds control the terminal or begin a line of its own."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from websockets_app.core.states import NodeKind
from websockets_app.models import Client, ClientRuntime, Endpoint, Node

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b2J\u202e\nforged\u2028\r"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    """Rows that were written past all forms."""
    node = Node.objects.create(
        id="0123456789abcdef", kind=NodeKind.SERVER, hostname=HOSTILE, pid=1, state="alive",
        started_at=timezone.now(), renewed_at=timezone.now(),
    )  # fmt: skip
    client = Client.objects.create(
        name=HOSTILE, uri=f"wss://example.com/{HOSTILE}", handler=f"handlers.{HOSTILE}",
        source=HOSTILE, source_root=HOSTILE,
    )  # fmt: skip
    ClientRuntime.objects.create(client=client, reason=HOSTILE, holder_id=node.pk)
    Endpoint.objects.create(endpoint=HOSTILE, handler=f"handlers.{HOSTILE}", source=HOSTILE)


@pytest.mark.parametrize(
    "command",
    [
        ["websocket_clients"],
        ["websocket_clients", "--json"],
        ["websocket_clients", f"b{HOSTILE}"],
        ["websocket_health"],
        ["websocket_health", "--json"],
        ["websocket_health", "--kind", "runner"],
        ["drain_websockets", "--node", HOSTILE],
        ["drain_websockets", "--all", "--endpoint", f"b{HOSTILE}"],
        ["drain_websockets", "--all", "--no-wait"],
        ["sync_websockets", "--dry-run"],
        ["sync_websockets", "--prune", "--dry-run"],
        ["export_websockets"],
        ["export_websockets", "exported"],
        ["export_websockets", "--client", f"b{HOSTILE}"],
        ["export_websockets", f"exported{HOSTILE}", "--dry-run"],
        ["run_websocket_clients", f"b{HOSTILE}"],
        ["check", "--database", "default"],
    ],
    ids=lambda command: " ".join(part for part in command if part.isprintable()),
)
def test_output_has_no_control_characters_and_no_forged_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, errors, ended = io.StringIO(), io.StringIO(), ""
    try:
        call_command(*command, stdout=out, stderr=errors)
    except (CommandError, SystemExit) as error:
        ended = str(error)
    written = out.getvalue() + errors.getvalue() + ended
    assert written
    assert not CONTROLS.search(written)
    assert not any(line.startswith("forged") for line in written.split("\n"))


def test_json_has_the_values_as_they_are() -> None:
    out = io.StringIO()
    call_command("websocket_clients", "--json", stdout=out)
    [client] = json.loads(out.getvalue())
    assert client["name"] == HOSTILE
