"""Rows that tests of the admin begin with; no runner has seen them."""

from __future__ import annotations

from typing import Any

from websockets_app.models import Client, OutboxMessage


def create_client(name: str = "feed", **columns: Any) -> Client:
    fields = {"uri": "wss://example.com/", "handler": "handlers.printer", **columns}
    return Client.objects.create(name=name, **fields)


def create_message(client: Client, **columns: Any) -> OutboxMessage:
    """Put a text into a client's outbox, unless `columns` say something else."""
    content = {} if {"text", "binary", "close_code"} & columns.keys() else {"text": "hello"}
    return OutboxMessage.objects.create(client=client, **content, **columns)
