"""Waiting for a client to open: what its runner has written of it, and the error that it means."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from ..core.states import ClientState, Failure
from ..exceptions import (
    AddressNotAllowed,
    ClosedAtOnce,
    ConnectFailed,
    ConnectTimeout,
    CredentialMissing,
    HandlerProblem,
    HandshakeRefused,
    InvalidUri,
    PeerUnreachable,
    TlsFailed,
    WebsocketsError,
)
from ..models import Client, ClientRuntime

_ERRORS: Final[dict[str, type[WebsocketsError]]] = {
    Failure.ADDRESS: AddressNotAllowed,
    Failure.CREDENTIAL: CredentialMissing,
    Failure.URI: InvalidUri,
    Failure.HANDLER: HandlerProblem,
    Failure.UNREACHABLE: PeerUnreachable,
    Failure.TLS: TlsFailed,
    Failure.REFUSED: HandshakeRefused,
    Failure.TIMEOUT: ConnectTimeout,
    Failure.CLOSED: ClosedAtOnce,
}


_PROGRESS: Final[dict[str | None, str]] = {
    None: "no runner has seen it: is one alive that holds all clients?",
    ClientState.UNASSIGNED: "no runner has taken it: is one alive that holds all clients?",
    ClientState.CONNECTING: "its handshake is not over",
    ClientState.OPEN: "it is connected, and its on_open has not ended",
}


class Seen(NamedTuple):
    """What the runner has written of a client; None throughout before it has seen it."""

    state: str | None
    reason: str | None
    failure: str | None
    since: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None

    @property
    def has_opened(self) -> bool:
        """Whether `on_open` has run: of an ephemeral client that has ended since, too."""
        is_open = self.state == ClientState.OPEN or self.ended_at is not None
        return self.ready_at is not None and is_open

    @property
    def has_failed(self) -> bool:
        """Whether an attempt has failed since the client was created."""
        return bool(self.failure) or self.ended_at is not None

    def has_failed_since(self, since: datetime | None) -> bool:
        """Whether an attempt has failed after what an older row told of `since`."""
        is_news = self.since is not None and (since is None or self.since > since)
        return is_news and bool(self.failure)


def look(client: Client) -> Seen | None:
    """Return what the runner has written of `client`; None where its row has gone."""
    columns = [f"runtime__{field}" for field in Seen._fields]
    row = Client.objects.filter(pk=client.pk).values_list(*columns).first()
    return None if row is None else Seen(*row)


def no_longer_awaited(client: Client) -> None:
    """Tell the runners that nobody waits any more: ended, the client may be removed."""
    ClientRuntime.objects.filter(client=client.pk).update(awaited_until=None)


def failure_of(client: Client, seen: Seen) -> WebsocketsError:
    """Return the error that says why `client` didn't open."""
    if seen.state == ClientState.CONNECTING:  # the next attempt's: its reason is no reason
        reason = f"an attempt failed ({seen.failure})"
    else:
        reason = seen.reason or "it was stopped"
    kind = _ERRORS.get(seen.failure or "", ConnectFailed)
    return kind(f"The client {client.name} can't connect: {reason}")


def lateness_of(client: Client, seen: Seen, timeout: float) -> ConnectTimeout:
    """Return the error that says how far `client` came within `timeout` seconds."""
    words = _PROGRESS.get(seen.state, f"{seen.state}: {seen.reason}")
    return ConnectTimeout(f"The client {client.name} is not open after {timeout:g} s: {words}")
