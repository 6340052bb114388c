"""Waiting for a client to open: what its runner has written of it, and the error that it means."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from ..core.states import ClientState, Desired, Failure
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
from ..models import Client
from .credentials import redacted

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


_PROGRESS: Final[dict[str, str]] = {
    ClientState.UNASSIGNED: "no runner has taken it: is one alive that holds all clients?",
    ClientState.CONNECTING: "its handshake is not over",
    ClientState.OPEN: "it is connected, and its on_open has not ended",
}


class Seen(NamedTuple):
    """What the runner has written of a client."""

    state: str
    reason: str
    failure: str
    since: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None
    desired: str

    @property
    def has_opened(self) -> bool:
        """Whether `on_open` has run: of an ephemeral client that has ended since, too."""
        is_open = self.state == ClientState.OPEN and self.desired == Desired.RUN
        return self.ready_at is not None and (is_open or self.ended_at is not None)

    def has_failed_since(self, since: datetime | None) -> bool:
        """Whether an attempt has failed after what a lasting client's row told of `since`.

        Of the last attempt that failed its row tells until one has opened. So what it tells while
        the next one is under way may be old, and how that one ends is soon known.
        """
        rests = self.state in {ClientState.BACKOFF, ClientState.FAILED}
        return rests and self.since != since


def look(client: Client) -> Seen | None:
    """Return what the runner has written of `client`; None where its row has gone."""
    columns = [f"runtime__{field}" for field in Seen._fields[:-1]]
    row = Client.objects.filter(pk=client.pk).values_list(*columns, "desired").first()
    return None if row is None else Seen(*row)


def failure_of(client: Client, seen: Seen) -> WebsocketsError:
    """Return the error that says why `client` didn't open."""
    kind = _ERRORS.get(seen.failure, ConnectFailed)
    return kind(f"{_named(client)} can't connect: {seen.reason or 'it was stopped'}")


def lateness_of(client: Client, seen: Seen, timeout: float) -> ConnectTimeout:
    """Return the error that says how far `client` came within `timeout` seconds."""
    words = _PROGRESS.get(seen.state, f"{seen.state}: {seen.reason}")
    return ConnectTimeout(f"{_named(client)} is not open after {timeout:g} s: {words}")


def interruption_of(client: Client, verb: str) -> ConnectFailed:
    """Return the error that says what somebody did to the row meanwhile."""
    return ConnectFailed(f"{_named(client)} can't connect: somebody has {verb} it")


def slow_end_of(client: Client, timeout: float) -> ConnectTimeout:
    """Return the error that says that the connection before the one asked for didn't end."""
    return ConnectTimeout(f"{_named(client)} was closed before, and still is after {timeout:g} s.")


def _named(client: Client) -> str:
    """Name a client in a message: an ephemeral one's own name would tell nobody anything."""
    return f"The client {f'of {redacted(client.uri)}' if client.ephemeral else client.name}"
