"""The seed's 2.x example: people who write to each other, by their names.

It is called through the endpoint `/service/<str:type>`, at `ws://…/service/js`::

    {"module": "/chat/chat_service.js", "params": {"type": "welcome", "from": "Tom"}}
"""

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from websockets_app import websockets

MEMBERS = "chat-members"
# Anybody may join, so that all of this is bounded.
MAX_MEMBERS = 1000
MAX_NAME_LENGTH = 40
TIMEOUT = timedelta(days=1)


def handle(params: Mapping[str, Any], session: websockets.Peer) -> None:
    kind = params.get("type")
    if kind == "welcome":
        welcome(session, params["from"])
    elif kind == "message":
        tell(params["to"], params["message"])
    elif kind == "list":
        list_members(session)


def welcome(session: websockets.Peer, sender: str) -> None:
    """Let others write to `sender` for a day; another welcome renews it."""
    if not is_name(sender):
        session.send_text(f"A name has 1 to {MAX_NAME_LENGTH} characters.")
        return
    members = websockets.shared.members(MEMBERS)
    if sender not in members and len(members) >= MAX_MEMBERS:
        session.send_text("The chat is full. Try again later.")
        return
    # First, so that whoever has been welcomed can be written to.
    websockets.shared.set(session_key(sender), session, TIMEOUT)
    websockets.shared.add(MEMBERS, sender, TIMEOUT)
    session.send_text(f"Welcome {sender}!")
    log(f"registered {sender}")


def tell(recipient: str, message: str) -> None:
    session = websockets.shared.get(session_key(recipient)) if is_name(recipient) else None
    if session is not None and session.send_text(message) != websockets.SendAnswer.GONE:
        log(f"send to {recipient}")
    else:
        log(f"no session for {recipient}")


def list_members(session: websockets.Peer) -> None:
    members = json.dumps(
        websockets.shared.members(MEMBERS), ensure_ascii=False, separators=(",", ":")
    )
    log(f"list: {members}")
    session.send_text(members)


def is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH


def session_key(name: str) -> str:
    return f"chat-session-{name}"


def log(text: str) -> None:
    # Peers choose their names: a line break or an escape sequence in one must not be printed.
    shown = (char if char.isprintable() else ascii(char)[1:-1] for char in text)
    print("".join(shown), file=sys.stderr, flush=True)
