"""Rows of sessions, with every column, as a session makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from websockets_app.models import Session
from websockets_app.recording.facts import SessionRow


def session_row(name: str, opened_at: datetime, **columns: Any) -> SessionRow:
    row = {field.attname: field.get_default() for field in Session._meta.concrete_fields}
    return {
        **row,
        "id": name,
        "endpoint_id": 7,
        "endpoint_path": "echo",
        "handler": "handlers.echo",
        "node_id": "node",
        "path": "/echo",
        "opened_at": opened_at,
        **columns,
    }
