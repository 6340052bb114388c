"""The seed's 2.x example: people who write to each other, by their names.

It is called through the endpoint `/service/<str:type>`, at `ws://…/service/js`::

    {"module": "/chat/chat_service.js", "params": {"type": "welcome", "from": "Tom"}}
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from websockets_app import websockets

MEMBERS = "chat-members"


def handle(params: Mapping[str, Any], session: websockets.Peer) -> None:
    kind = params.get("type")
    if kind == "welcome":
        welcome(session, params["from"])
    elif kind == "message":
        tell(params["to"], params["message"])
    elif kind == "list":
        list_members(session)


def welcome(session: websockets.Peer, sender: str) -> None:
    # First, so that whoever has been welcomed can be written to.
    websockets.shared.set(f"chat-session-{sender}", session)
    websockets.shared.add(MEMBERS, sender)
    session.send_text(f"Welcome {sender}!")
    log(f"registered {sender}")


def tell(recipient: str, message: str) -> None:
    session = websockets.shared.get(f"chat-session-{recipient}")
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


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
