"""Every error that this app raises on purpose.

::

    WebsocketsError
    ├── ConfigurationError          a setting is wrong: the text names it
    ├── HandlerProblem              a row's handler can't serve
    │   ├── HandlerNotAllowed       refused before import: outside the allow-list
    │   ├── HandlerNotFound         allowed, but no such module
    │   ├── HandlerImportFailed     the module raised while it was imported
    │   ├── HandlerInvalid          imported, but its callbacks can't be called
    │   │   └── NotAService         imported, but it defines no handle(params)
    │   └── UnknownEngine           the row names an engine that isn't configured
    ├── InvalidResult               a callback returned what can't be sent
    ├── GroupLimitReached           a group's name is too long, or a peer is in too many groups
    ├── MayOpenFailed               a handler's may_open raised
    ├── InvalidEndpoint             a path that isn't Django ``path()`` syntax
    ├── InvalidDescriptorFile       a file that can't become a row: the text says why
    ├── InvalidDescriptorPath       a path that holds no descriptor files
    ├── SessionGone                 a callback keeps sending after its peer has left
    ├── NodeUnreachable             a session's node can't be reached over the channel layer
    ├── InvalidShared               a key, value or member can't be shared: the text says why
    ├── SharedFull                  an endpoint's handler has added as much as the setting allows
    ├── SharedBusy                  other processes never let go of a key's members
    ├── IllegalTransition           a state change that the state machine doesn't know
    ├── InvalidUri                  a client's URI, proxy or header can't be used
    ├── AddressNotAllowed           a client's URI leads where clients may not dial
    ├── CredentialMissing           a row names an environment variable that isn't set or allowed
    ├── InvalidClient               a client can't be stored so: the text names each field
    ├── ClientConflict              a client of that name is there, and is another one
    ├── ClientGone                  the client isn't there any more
    ├── MessageTooBig               a message for the outbox is larger than the setting allows
    ├── NoRunner                    nobody would connect: no runner is alive
    ├── WaitInTransaction           no runner could see the row before the transaction ends
    └── ConnectFailed               a client that was to open didn't
        ├── PeerUnreachable         no such name, nobody listens, or the network failed
        ├── TlsFailed               the certificate or the TLS handshake was bad
        ├── HandshakeRefused        the peer answered the handshake with an HTTP status
        ├── ClosedAtOnce            the connection ended before on_open had run
        └── ConnectTimeout          it took longer than the caller would wait

The first line of a class's docstring is its message where none is given.
"""

from __future__ import annotations


class WebsocketsError(Exception):
    """Something in websockets_app went wrong."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class ConfigurationError(WebsocketsError):
    """A setting of WEBSOCKETS is wrong."""


class HandlerProblem(WebsocketsError):
    """The handler can't serve."""


class HandlerNotAllowed(HandlerProblem):
    """The handler reference is outside the allow-list."""


class HandlerNotFound(HandlerProblem):
    """There is no such handler module."""


class HandlerImportFailed(HandlerProblem):
    """The handler module raised while it was imported."""


class HandlerInvalid(HandlerProblem):
    """The handler module's callbacks can't be called."""


class NotAService(HandlerInvalid):
    """The module defines no handle(params)."""


class UnknownEngine(HandlerProblem):
    """The engine isn't configured."""


class InvalidResult(WebsocketsError):
    """A callback returned, or code sends, something that can't be sent."""


class GroupLimitReached(WebsocketsError):
    """The name of a group is too long, or a peer is a member of too many groups."""


class MayOpenFailed(WebsocketsError):
    """The handler's may_open raised."""


class InvalidEndpoint(WebsocketsError):
    """The endpoint isn't a path in Django's path() syntax."""


class InvalidDescriptorFile(WebsocketsError):
    """The descriptor file can't become a row."""


class InvalidDescriptorPath(WebsocketsError):
    """The path is neither a folder nor a descriptor file."""


class SessionGone(WebsocketsError):
    """The session or connection is closed: nothing can be sent any more."""

    def __init__(self, message: str = "", session: object = None) -> None:
        super().__init__(message)
        self.session = session


class NodeUnreachable(WebsocketsError):
    """The node that holds the session, or the event loop of this process, does not answer."""


class InvalidShared(WebsocketsError):
    """A key, value or member can't be shared."""


class SharedFull(WebsocketsError):
    """No more can be shared."""


class SharedBusy(WebsocketsError):
    """Other processes never let go of the members of a shared key."""


class IllegalTransition(WebsocketsError):
    """The state machine doesn't know this change."""


class InvalidUri(WebsocketsError):
    """The URI, proxy or header of a client can't be used."""


class AddressNotAllowed(WebsocketsError):
    """The URI leads to an address that clients may not dial."""


class CredentialMissing(WebsocketsError):
    """An environment variable that the client's row names isn't set or isn't allowed."""


class InvalidClient(WebsocketsError):
    """A client can't be stored with these values."""


class ClientConflict(WebsocketsError):
    """A client of that name is there, and is another one."""


class ClientGone(WebsocketsError):
    """The client isn't there any more."""


class MessageTooBig(WebsocketsError):
    """The message is larger than WEBSOCKETS['OUTBOX_MESSAGE_SIZE'] allows."""


class NoRunner(WebsocketsError):
    """No runner is alive: start one with manage.py run_websocket_clients."""


class WaitInTransaction(WebsocketsError):
    """Waiting inside a transaction is in vain: no runner sees the client before it ends."""


class ConnectFailed(WebsocketsError):
    """The client could not connect."""


class PeerUnreachable(ConnectFailed):
    """The client's peer can't be reached."""


class TlsFailed(ConnectFailed):
    """TLS with the client's peer failed."""


class HandshakeRefused(ConnectFailed):
    """The peer refused the handshake."""


class ClosedAtOnce(ConnectFailed):
    """The connection ended before on_open had run."""


class ConnectTimeout(ConnectFailed):
    """The client did not open in time."""
