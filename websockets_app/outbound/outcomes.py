"""How attempts and connections end, in words for people and in values for the policy."""

from __future__ import annotations

import email.utils
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final

from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    WebSocketException,
)
from websockets.http11 import Response

from ..core.close_codes import CloseCode
from ..core.policy import Outcome
from ..core.states import CloseCause, Failure
from ..core.text import tame
from ..exceptions import AddressNotAllowed, CredentialMissing, InvalidUri
from ..redaction import clean
from .config import ClientConfig
from .credentials import redacted

_HOPELESS: Final[dict[type[Exception], Failure]] = {
    AddressNotAllowed: Failure.ADDRESS,
    CredentialMissing: Failure.CREDENTIAL,
    InvalidUri: Failure.URI,
}
_BROKEN_OFF: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_OTHER_HOST: Final = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
_OUR_COMPLAINTS: Final[dict[int, CloseCause]] = {CloseCode.MESSAGE_TOO_BIG: CloseCause.TOO_BIG}
_WORDS: Final = {
    CloseCause.PEER: "the peer closed",
    CloseCause.HANDLER: "its handler closed",
    CloseCause.HANDLER_ERROR: "its handler raised",
    CloseCause.TOO_BIG: "the peer sent too big a message",
    CloseCause.PROTOCOL: "the peer broke the protocol",
    CloseCause.PING_TIMEOUT: "the peer answered no ping",
    CloseCause.TRANSPORT: "the connection broke",
    CloseCause.ADMIN: "closed in the admin",
    CloseCause.CONFIG: "its row changed",
    CloseCause.SHUTDOWN: "its runner stops",
    CloseCause.LEASE_LOST: "another runner may have it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a connection ended: the first to say so is right."""

    code: int
    reason: str
    cause: CloseCause

    @property
    def words(self) -> str:
        """The ending as a person reads it."""
        said = _WORDS.get(self.cause, str(self.cause))
        return f"{said} ({self.code})" + (f": {self.reason}" if self.reason else "")


def ending_of(closed: ConnectionClosed) -> Ending:
    """Return what the library knows of a connection that we didn't end."""
    if closed.sent is not None and not closed.rcvd_then_sent:  # it complained on our behalf
        cause = _OUR_COMPLAINTS.get(closed.sent.code, CloseCause.PROTOCOL)
        return Ending(code=closed.sent.code, reason=tame(closed.sent.reason, 123), cause=cause)
    if closed.rcvd is not None:
        reason = tame(closed.rcvd.reason, 123)
        return Ending(code=closed.rcvd.code, reason=reason, cause=CloseCause.PEER)
    return Ending(code=CloseCode.ABNORMAL, reason="", cause=CloseCause.TRANSPORT)


def outcome_of_connection(ending: Ending, seconds_open: float) -> Outcome:
    return Outcome(
        reason=ending.words, failure=Failure.CLOSED, code=ending.code, seconds_open=seconds_open
    )


def outcome_of_failure(error: Exception, config: ClientConfig) -> Outcome:
    """Return what became of an attempt that opened nothing."""
    if isinstance(error, InvalidStatus):
        return _refused(error.response)
    if isinstance(error, InvalidProxyStatus):
        reason = f"the proxy answered HTTP {error.response.status_code}"
        return Outcome(reason=reason, failure=Failure.UNREACHABLE)
    if isinstance(error, ssl.SSLError):
        hopeless = not isinstance(error, _BROKEN_OFF)
        reason = f"TLS failed: {clean(_tls_words(error), 200)}"
        return Outcome(reason=reason, failure=Failure.TLS, hopeless=hopeless)
    if isinstance(error, TimeoutError):
        reason = f"no handshake within {config.open_timeout:g} s"
        return Outcome(reason=reason, failure=Failure.TIMEOUT)
    if isinstance(error, socket.gaierror):
        reason = f"its name has no address: {error.strerror}"
        return Outcome(reason=reason, failure=Failure.UNREACHABLE)
    return _refused_by_us(error) or _broken_off(error)


def _refused_by_us(error: Exception) -> Outcome | None:
    for kind, failure in _HOPELESS.items():
        if isinstance(error, kind):
            return Outcome(reason=str(error), failure=failure, hopeless=True)
    return None


def _broken_off(error: Exception) -> Outcome:
    words = clean(_os_words(error) or str(error) or type(error).__name__, 200)
    if isinstance(error, (OSError, EOFError)):
        return Outcome(reason=words, failure=Failure.UNREACHABLE)
    # What is left of bad values (a subprotocol that is no token) and missing packages is hopeless.
    return Outcome(reason=words, hopeless=not isinstance(error, WebSocketException))


def _os_words(error: Exception) -> str:
    """Return what the system calls the error: asyncio's own text names the address as well."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""


def _tls_words(error: ssl.SSLError) -> str:
    """Return what OpenSSL says, without the host, which may be the value of a variable."""
    verify_code = getattr(error, "verify_code", None)
    if verify_code in _OTHER_HOST:
        return f"{error.reason}: the certificate is for another host"
    return str(error)


def _refused(response: Response) -> Outcome:
    said = f"HTTP {response.status_code} {clean(response.reason_phrase, 60)}".rstrip()
    location = response.headers.get("Location")
    if 300 <= response.status_code < 400 and location:
        said += f": redirected to {tame(redacted(location))}, and redirects aren't followed"
    return Outcome(
        reason=said,
        failure=Failure.REFUSED,
        status=response.status_code,
        retry_after=_retry_after(response.headers),
    )


def _retry_after(headers: Headers) -> float | None:
    """Return the seconds of a Retry-After header: a number or a date (RFC 9110 §10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
