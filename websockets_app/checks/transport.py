"""Checks of encryption: what crosses the network in clear text, or reaches an unknown peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.core import checks
from django.db import OperationalError, ProgrammingError, router

from ..core.environment import REFERENCE
from ..models import Client
from ..outbound.address import literal
from ..outbound.credentials import names_secret, split
from .options import are_usable
from .tags import WEBSOCKETS


@checks.register(WEBSOCKETS, checks.Tags.security, deploy=True)
def check_redirect(**kwargs: Any) -> list[checks.CheckMessage]:
    if not settings.SECURE_SSL_REDIRECT:
        return []
    return [
        checks.Warning(
            "SECURE_SSL_REDIRECT redirects HTTP requests only: endpoints also accept WebSockets "
            "that are opened with ws://, without encryption.",
            hint="Let the server or the proxy in front of it accept or redirect plain HTTP so "
            "that no WebSocket gets through, then silence this check.",
            id="websockets_app.W060",
        )
    ]


@checks.register(WEBSOCKETS, checks.Tags.security, checks.Tags.database, deploy=True)
def check_client_encryption(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    if router.db_for_read(Client) not in (databases or ()) or not are_usable():
        return []
    try:
        clients = list(Client.objects.all())
    except (OperationalError, ProgrammingError):  # not migrated yet, or away
        return []
    return [message for client in clients for message in _check_client(client)]


def _check_client(client: Client) -> Iterator[checks.CheckMessage]:
    if field := _unencrypted_credentials(client):
        yield checks.Warning(
            f"The client {client} sends the credentials in its {field} without encryption: its "
            "URI starts with ws://.",
            hint="Write wss:// if the peer supports it. If everybody in between is trusted, "
            "silence this check.",
            obj=client,
            id="websockets_app.W061",
        )
    if client.uri.startswith("wss:") and not client.verify_tls:
        yield checks.Warning(
            f"The client {client} doesn't verify the TLS certificate of its peer: everybody in "
            "between can read and change its messages.",
            hint="Turn verify_tls on. For a certificate of your own, set ca_certificates.",
            obj=client,
            id="websockets_app.W062",
        )


def _unencrypted_credentials(client: Client) -> str:
    """Return which field of a client holds credentials for a ws:// URI, or an empty string."""
    try:
        parts = split(client.uri)
    except ValueError:  # which no runner can use
        return ""
    if parts.scheme != "ws" or _is_this_machine(parts.hostname or ""):
        return ""
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    behind = parts.path + parts.query  # a variable in the host is the host
    if "@" in parts.netloc or REFERENCE.search(behind) or any(map(names_secret, names)):
        return "URI"
    headers = client.headers.items() if isinstance(client.headers, dict) else ()
    if any(names_secret(name) or REFERENCE.search(str(value)) for name, value in headers):
        return "headers"
    return ""


def _is_this_machine(host: str) -> bool:
    address = literal(host)
    return host == "localhost" if address is None else address.is_loopback
