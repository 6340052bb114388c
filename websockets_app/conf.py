"""The setting `WEBSOCKETS`: its keys, with their defaults in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings

_REDACTED_NAMES: Final = (
    "passw", "passphrase", "passcode", "pwd", "secret", "token", "api_key", "access_key",
    "private_key", "credential", "authorization", "cookie", "sessionid",
)  # fmt: skip


class WebsocketsSettings:
    """Each key of `settings.WEBSOCKETS`, read when it is asked for."""

    PREFIX: str = "websockets/v4/service/"
    """Where endpoints without a leading slash live, below the site's root."""

    HANDLER_PACKAGES: Sequence[str] = ("handlers",)
    """The packages that handlers may be imported from, besides apps' `websocket_handlers`."""

    ENGINES: Mapping[str, str] = {"python": "websockets_app.dispatch.engines.PythonEngine"}
    """Engine names and the dotted paths of their classes."""

    REFUSE_WITH: str = "http"
    """`http`: refuse before accept (403, 404). `close`: accept, then close with 44xx."""

    TRUSTED_PROXIES: Sequence[str] = ()
    """Addresses and networks of proxies whose X-Forwarded-For is believed; `unix`: of a socket."""

    ALLOWED_CLIENT_HOSTS: Sequence[str] = ()
    """Hosts, addresses and networks that clients may dial although they aren't public."""

    ALLOWED_CLIENT_PROXIES: Sequence[str] = ()
    """Hosts, addresses and networks of proxies that clients may use, although not public."""

    CLIENT_ENVIRONMENT: Sequence[str] = ()
    """Environment variables that clients may read as `env:NAME`: names, or prefixes (`FEED_*`)."""

    ACCEPT_SIGNED_COOKIE_SESSIONS: bool = False
    """Whether endpoints that need a user accept logins that are kept in signed cookies.

    With `SESSION_ENGINE` set to signed cookies, a copy of the cookie stays valid after a logout.
    """

    RECORDING: str = "background"
    """`background`: own threads. `inline`: Django's sync thread, for tests. `off`: nothing."""

    TENANT_OF: str | None = None
    """The dotted path of a function that returns the tenant of an ASGI scope, a string or None."""

    TENANT_CONTEXT: str | None = None
    """The dotted path of a context manager that enters a tenant, given what `TENANT_OF` returned.

    Sessions and users are looked up in it, at the handshake and ever after.
    """

    REDACTED_NAMES: Sequence[str] = _REDACTED_NAMES
    """Values whose names contain one of these are hidden in payloads, events and logs.

    Case, `-`, `_` and spaces don't matter: `api_key` is in `X-Api-Key` and in `apiKey`.
    """

    REDACTED_WORDS: Sequence[str] = ("auth", "pass", "pin", "otp", "jwt", "session", "sid", "cvv")
    """So are values whose names have one of these as a word: `pin` as in `userPin`.

    These are too short to be looked for anywhere in a name: `pin` is in `shipping`.
    """

    EVENT_BUFFER: int = 50_000
    """How many events wait in memory at most while the database is away."""

    SYNC_THREADS: int = 32
    """How many sync callbacks run at once in one process.

    One endpoint or client uses at most three quarters of the threads, so that its slow callbacks
    don't stop those of the others.
    """

    SYNC_TO_ASYNC_THREADS: int = 16
    """How many threads of one process run what async callbacks pass to `sync_to_async`.

    The async ORM does that, too. Each thread may have a database connection. If more callbacks
    need a thread, they share them.
    """

    GROUPS_PER_SESSION: int = 100
    """How many groups a session, or a client's connection, may be a member of at once."""

    MAX_QUEUED_BYTES: int = 64 * 1024 * 1024
    """Bytes of memory that queued messages may take in one process.

    They wait for a slow handler, or for a peer that doesn't read. If they take more, the sessions
    with the longest queues are closed with 1013.
    """

    POLL_INTERVAL: float = 0.5
    """Seconds between two looks at the descriptors' revisions."""

    HEARTBEAT_INTERVAL: float = 2.0
    """Seconds between two renewals of a node's lease."""

    NODE_TTL: float = 10.0
    """Seconds that a lease must stand still, seen by a living node, before its node is lost."""

    SHUTDOWN_TIMEOUT: float = 15.0
    """Seconds that handlers and sockets have to end in after SIGTERM."""

    HANDSHAKES_PER_HOST: int = 4
    """How many clients connect to one host at the same time."""

    OUTBOX_MESSAGE_SIZE: int = 16 * 1024 * 1024
    """Bytes of a message that code may send through a client."""

    CHANNEL_LAYER: str | None = "default"
    """The channel layer that nodes talk over; None: nodes only poll."""

    RATE_STORE: str | None = None
    """The URL of a Redis or Valkey that counts rates for all processes; None: each for itself."""

    SHARED_CACHE: str | None = None
    """The cache of `CACHES` that keeps what handlers share; None: a table of the database."""

    SHARED_VALUE_SIZE: int = 64 * 1024
    """Bytes of one shared value, as JSON."""

    SHARED_ENTRIES: int = 10_000
    """How many shared values and members the handler of one endpoint may add to the table.

    Those that were deleted or have expired don't count. Code that runs for no endpoint, for
    example in a view or for a client, may add the same number.
    """

    def __getattribute__(self, name: str) -> Any:
        default = object.__getattribute__(self, name)
        if not name.isupper():
            return default
        return getattr(settings, "WEBSOCKETS", {}).get(name, default)

    def keys(self) -> list[str]:
        """Return every key that the setting may have."""
        return [name for name in vars(type(self)) if name.isupper()]


app_settings = WebsocketsSettings()
