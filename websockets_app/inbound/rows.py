"""The columns of a session's row, each from what knows them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model

from ..recording.facts import SessionRow, moment
from ..recording.peer_record import PeerRecord
from ..redaction import clean
from .config import EndpointConfig
from .ending import Ending
from .handshake import Handshake
from .rights import database_of, is_of_another_database


class Came(NamedTuple):
    """What a session came with: columns that stay as they are."""

    path: str
    params: dict[str, str]
    address: str
    address_group: str
    origin: str
    user_key: str
    username: str
    subprotocol: str

    @classmethod
    def of(cls, handshake: Handshake, user: Any, subprotocol: str | None) -> Came:
        columns = of_handshake(handshake) | of_user(user, handshake)
        return cls(subprotocol=(subprotocol or "")[:100], **columns)


def of_endpoint(config: EndpointConfig) -> SessionRow:
    return {"endpoint_id": config.id, "endpoint_path": config.endpoint}


def of_handshake(handshake: Handshake) -> SessionRow:
    return {
        "path": handshake.path,
        "params": handshake.shown_params,
        "address": handshake.address,
        "address_group": handshake.address_group,
        "origin": clean(handshake.headers.get("origin", ""), 255),
    }


def of_user(user: Any, handshake: Handshake | None = None) -> SessionRow:
    key = getattr(user, "pk", None)
    if key is None:
        return {"user_key": "", "username": ""}
    if is_of_another_database(user):
        key = f"{database_of(user)}:{key}"  # not the user of that key here
    if not isinstance(user, get_user_model()):
        key = f"{user.__class__.__name__}:{key}"  # a middleware's: not the user of that key
    if handshake is not None and handshake.tenant is not None:
        key = f"{handshake.tenant}/{key}"
    return {"user_key": _bounded(str(key)), "username": user.get_username()[:254]}


def _bounded(key: str) -> str:
    """Return `key` as its column takes it: cut off, two users could have the same."""
    return key if len(key) <= 64 else sha256(key.encode()).hexdigest()


def of_ending(ending: Ending | None) -> SessionRow:
    """Return the columns of how a session ended, or of one that is open."""
    return {
        "closed_at": moment(ending.at) if ending else None,
        "close_code": ending.code if ending else None,
        "close_code_sent": ending.sent if ending else None,
        "close_reason": ending.reason if ending else "",
        "close_cause": ending.cause if ending else "",
    }


def of_counters(record: PeerRecord) -> SessionRow:
    return {
        "messages_in": record.messages_in,
        "messages_out": record.messages_out,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
