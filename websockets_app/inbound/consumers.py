"""The one Channels consumer behind every endpoint."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from channels.consumer import AsyncConsumer

from ..conf import app_settings
from ..core.close_codes import CloseCode
from ..core.states import CloseCause, EventKind
from ..core.text import tame
from ..recording.facts import Subject
from ..recording.repeats import Occurrence
from ..redaction import clean, get_logger
from . import server
from .access import KEPT_OUT, NOT_FOUND, NOT_YET, Refusal
from .admission import admit
from .config import EndpointConfig
from .handshake import Handshake, path_info
from .server import Receive, Send
from .serving import Serving, get_serving
from .session import InboundSession

logger = get_logger(__name__)

LINGER_SECONDS: Final = 1.0
"""How long the server's task waits for a handler, and its `on_close`, when the session is over."""


class EndpointConsumer(AsyncConsumer):
    """Admits a connection and hands it to a session, which lives in a task of the node's.

    The server's own task only waits. A server that cancels it (Daphne does, ten seconds after the
    peer has left) doesn't end the handler; nor does a handler that takes long keep a server from
    closing the socket, or from stopping, once the session is over.
    """

    async def __call__(  # type: ignore[override] # Channels types every protocol's events here
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        serving = await get_serving()
        receive = server.settled(receive)
        await receive()  # websocket.connect
        session = await _admit(serving, scope, receive, send)
        if session is None:
            return
        life = serving.node.own(session.run(serving.welcome))
        life.add_done_callback(session.let_go)
        try:
            await session.over
            await asyncio.wait({life}, timeout=LINGER_SECONDS)
        except asyncio.CancelledError:
            # Only servers that stop give up what is open: Hypercorn before its lifespan ends.
            await session.aclose(CloseCode.GOING_AWAY, "", CloseCause.SHUTDOWN)
            raise


async def _admit(
    serving: Serving, scope: dict[str, Any], receive: Receive, send: Send
) -> InboundSession | None:
    """Return the session that may open; refuse the handshake and return None otherwise."""
    match = serving.registry.match(path_info(scope))
    config = match.config if match else None
    handshake = Handshake(scope=scope, params=match.params if match else {})
    session: InboundSession | Refusal
    if refusal := serving.limits.connections.refusal(config, handshake.address_group):
        session = refusal
    elif config is None:
        session = NOT_FOUND if serving.registry.loaded else NOT_YET
    elif serving.drains.keeps_out(config.endpoint):
        session = KEPT_OUT
    else:
        session = await admit(serving.limits, serving.registry, config, handshake, receive, send)
    if isinstance(session, Refusal):
        await _refuse(serving, handshake, receive, send, session, config)
        return None
    return session


async def _refuse(
    serving: Serving,
    handshake: Handshake,
    receive: Receive,
    send: Send,
    refusal: Refusal,
    config: EndpointConfig | None,
) -> None:
    """Refuse a handshake: to the peer without internals, to the operator with the reason."""
    recorder = serving.node.recorder
    path, reason = handshake.path, clean(refusal.reason, 1000)
    one = Occurrence(f"{path}: {reason}", refusal.code, refusal.cause)
    equal_in = f"{refusal.code} {refusal.cause} {handshake.address_group}"
    # Unknown paths are counted together: a peer can make up any number of them.
    counted = config.subject if config else Subject("in", None, None, "")
    recorder.count(counted, refused=1)
    if not recorder.is_repeat(EventKind.REFUSED, counted, equal_in, lambda: one):
        subject = config.subject if config else counted._replace(name=tame(path, 200))
        logger.warning("Refused %s: %s", path, reason, extra={"endpoint": subject.name})
        recorder.add_own(
            EventKind.REFUSED, subject, code=one.code, cause=one.cause, detail=one.detail
        )
    await recorder.settle()
    with contextlib.suppress(*server.PEER_HAS_LEFT):  # who asked may be gone
        if app_settings.REFUSE_WITH == "close":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": server.on_the_wire(refusal.code)})
        else:
            await server.reject(handshake.scope, receive, send, refusal.status)
