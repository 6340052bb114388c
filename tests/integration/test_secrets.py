"""A real server and a runner neither keep nor log secrets and control characters."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import aeventually, eventually

Endpoints = Callable[..., None]

SECRET = "hunter2-7c1f"
FORGED = "2026-01-01 00:00:00,000 ERROR root: forged"

LEAKY = """
import json

def may_open(params):
    if params["room"] == "closed":
        raise ValueError(f"nobody enters with {params}")
    return True

def on_message(message, params):
    if message == "capture":
        raise LookupError(params["token"])
    read = json.loads(message)
    if read["how"] == "key":
        return {}[read["password"]]
    if read["how"] == "close":
        raise ConnectionError(f"the peer sent {message}")
    raise ValueError(read["text"] + str(message))

def on_error(error):
    print(f"on_error: {error}", flush=True)

def on_close(reason):
    raise RuntimeError(f"closed with {reason}")
"""
FEED = f"""
def on_open():
    return {{"password": "{SECRET}"}}

def on_message(message, session):
    session.close(4000, "Authorization: Bearer {SECRET}")
"""
CLIENT = """
import json

def on_message(message):
    password = json.loads(message)["password"]
    try:
        raise KeyError(password)
    finally:
        from websockets_app import websockets
        websockets.get_session().send_text("close me")
"""

COMMANDS = """
import sys
from django.core.management import CommandError, call_command

for command in (
    ["websocket_clients"], ["websocket_clients", "--json"], ["websocket_health", "--json"],
    ["check", "--database", "default"], ["export_websockets", {folder!r}],
):
    try:
        call_command(*command, stderr=sys.stdout)
    except (CommandError, SystemExit) as ended:
        print(ended)
"""

MESSAGES = [
    "capture",
    json.dumps({"how": "key", "password": SECRET}),
    json.dumps({"how": "quote", "auth": {"x": [SECRET]}, "text": f"\n{FORGED}\n\x1b[2J\u202e"}),
    json.dumps({"how": "quote", "text": "", "data": json.dumps({"pin": SECRET})}).encode(),
    json.dumps({"how": "quote", "text": "", "p\u0061ss": SECRET}).replace("pass", "\\u0070ass"),
    f'{{"how": "broken", "api-key": "{SECRET}"',
    f"how=form&pwd={SECRET}",
    b"\x81\xa8password\xac" + SECRET.encode(),
]


async def attack(uri: str) -> None:
    """Send secrets on every way that there is."""
    async with connect(f"{uri('leaky/hall/' + SECRET)}?token={SECRET}") as peer:
        for message in MESSAGES:
            await peer.send(message)
        await peer.ping()
        await peer.close(1000, f"token={SECRET}\n{FORGED}")
    for path in (f"leaky/closed/{SECRET}", f"unknown/token={SECRET}"):
        with suppress(InvalidStatus):
            async with connect(f"{uri(path)}?token={SECRET}", user_agent_header=SECRET):
                raise AssertionError("it was let in")


def everything_stored(site: Site) -> str:
    """Return all rows but those of clients' settings, which hold what a person typed."""
    tables = site.rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'websockets_app_%'"
    )
    names = {row["name"] for row in tables} - {"websockets_app_client"}
    rows = (row for name in names for row in site.rows(f"SELECT * FROM {name}"))  # noqa: S608
    return "\n".join(str(value) for row in rows for value in row.values())


@pytest.mark.timeout(400)
async def test_no_secret_is_kept_or_logged_and_no_log_line_is_forged(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(
        site,
        leaky={
            "endpoint": "leaky/<str:room>/<str:token>",
            "handler": site.write_handler("leaky", LEAKY),
            "record_messages": "payloads",
        },
        feed={"handler": site.write_handler("feed", FEED), "record_messages": "payloads"},
        broken={"handler": site.write_handler("broken", f"raise OSError('password={SECRET}')")},
    )
    server = site.start_uvicorn("--log-level", "warning")  # its own log has whole URIs
    await attack(server.ws)
    fields = {
        "name": "feed",
        "uri": server.ws("feed").replace("://", f"://tom:{SECRET}@") + f"?token={SECRET}",
        "headers": {"X-Api-Key": SECRET},
        "handler": site.write_handler("client", CLIENT),
        "record_messages": "payloads",
    }
    site.shell(f"Client.objects.create(**{fields!r})")
    runner = site.start_runner("feed")

    def kinds() -> set[tuple[str, str]]:
        rows = site.rows("SELECT kind, direction FROM websockets_app_event")
        return {(row["kind"], row["direction"]) for row in rows}

    wanted = {("close", "in"), ("close", "out"), ("error", "out"), ("refused", "in")}
    await aeventually(lambda: wanted <= kinds(), timeout=30)
    eventually(lambda: site.rows("SELECT * FROM websockets_app_loaderror"), timeout=20)
    exported = site.directory / "exported"
    printed = site.shell(COMMANDS.format(folder=str(exported)))
    files = [path.read_text("utf-8") for path in exported.rglob("*") if path.is_file()]
    stored, logged = everything_stored(site), server.output + runner.output
    for text in (stored, logged, printed, *files):
        assert SECRET not in text
        assert SECRET.encode().hex() not in text
        assert "\x1b" not in text
        assert FORGED not in text.splitlines()
    # What was recorded is still of use:
    for told in ("KeyError: '…'", "LookupError: …", "in on_message", "RuntimeError: …"):
        assert told in stored
        assert told in logged
    assert '{"how": "key", "password": "…"}' in stored
    assert "forged" in logged
    assert "can't be imported: OSError: password=…" in printed
    # The JSON has it whole; the table cuts it to the width of the terminal.
    assert '"the peer closed (4000): Authorization: ' in printed
