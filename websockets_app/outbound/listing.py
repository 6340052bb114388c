"""Looking clients up, for code that didn't create them."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Exists, OuterRef

from ..core.states import ClientState
from ..dispatch.loader import resolve
from ..exceptions import HandlerProblem
from ..models import Client
from ..models.client import ClientQuerySet
from .credentials import redacted
from .handle import WebsocketClient, closes_of

_CONFIGURED: Final = ("id", "name", "uri", "handler", "engine", "desired", "ephemeral")
_TOLD: Final = ("state", "reason", "attempt", "since", "next_attempt_at", "opened_at")


def described_clients() -> list[dict[str, Any]]:
    rows = _existing().order_by("pk").select_related("runtime")
    return [_described(row) for row in rows]


def client(key: int | str) -> WebsocketClient | None:
    try:
        row = _existing().filter(pk=int(key)).first()
    except (TypeError, ValueError):  # no client has such an id
        return None
    return WebsocketClient.of(row) if row else None


def client_by_handler(handler: str, engine: str) -> WebsocketClient | None:
    try:
        reference = resolve(engine, handler)
    except HandlerProblem:  # no client can have it
        return None
    wanted = _existing().desired_to_run().filter(handler=reference, engine=engine)
    open_ = wanted.filter(~Exists(closes_of(OuterRef("pk"))), runtime__state=ClientState.OPEN)
    row = open_.order_by("pk").first()
    return WebsocketClient.of(row) if row else None


def _existing() -> ClientQuerySet:
    """Return the clients that there are, without those that have ended and wait for removal."""
    return Client.objects.filter(runtime__ended_at__isnull=True)


def _described(row: Client) -> dict[str, Any]:
    runtime = getattr(row, "runtime", None)
    told = {name: _as_json(getattr(runtime, name, None)) for name in _TOLD}
    configured = {name: getattr(row, name) for name in _CONFIGURED}
    return {
        **configured,
        "uri": redacted(row.uri),
        **told,
        "state": told["state"] or ClientState.UNASSIGNED.value,
        "created_at": _as_json(row.created_at),
    }


def _as_json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
