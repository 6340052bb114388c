"""`WebsocketSession`: how code holds a session, whichever process it is open in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connections

from ..conf import app_settings
from ..core.states import Direction, NodeState, SendAnswer
from ..exceptions import NodeUnreachable
from ..forking import in_forked_child
from ..models import Session
from ..node import elsewhere
from ..node.forwarding import ThreadForwarding
from ..node.handles import PeerHandle, refuse_in_event_loop, runs_event_loop
from ..node.mail import Mail
from ..node.node import nodes
from .tenants import tenant_context

_in_thread = ThreadForwarding()


@in_forked_child
def _forget_forwarding() -> None:
    """Leave what the parent forwards to its thread, which may have held the lock."""
    global _in_thread  # noqa: PLW0603 - see above
    _in_thread = ThreadForwarding()


class WebsocketSession(PeerHandle):
    """One inbound connection of any process (the seed's `WebsocketSession`). Pickles to its id.

    Sends and closes answer `written` where the session is open in this process, `forwarded` where
    they were handed to its node over the channel layer, and `gone` where it isn't open. They raise
    `ConfigurationError` where no layer spans processes, and `NodeUnreachable` where it fails.
    """

    __slots__ = ("_held_by",)

    direction = Direction.IN

    def __init__(self, session_id: str, *, here: bool = False) -> None:
        super().__init__(session_id)
        self._held_by = os.getpid() if here else 0

    @property
    def _here(self) -> bool:
        """Whether it is a session of this process: gone from here, it is gone."""
        return self._held_by == os.getpid()  # a forked child is another process

    @property
    def closed(self) -> bool:
        """Whether the session is over: as this process knows, or else as its node has told.

        The latter is a query: where an event loop runs, await `aclosed()`.
        """
        if self._is_known_here():
            return super().closed
        refuse_in_event_loop("aclosed")
        return not Session.objects.open().filter(pk=self.id).exists()

    @property
    def params(self) -> Mapping[str, Any]:
        """What the endpoint's pattern captured.

        Of a session in another process it is a query: where an event loop runs, await `aparams()`.
        """
        if self._is_known_here():
            return super().params
        refuse_in_event_loop("aparams")
        return Session.objects.values_list("params", flat=True).filter(pk=self.id).first() or {}

    @property
    def user(self) -> Any:
        """Who opened the session; None where that was nobody known, or is nobody any more.

        Of a session in another process it is a query: where an event loop runs, await `auser()`.
        """
        if self._is_known_here():
            return super().user
        refuse_in_event_loop("auser")
        key = Session.objects.values_list("user_key", flat=True).filter(pk=self.id).first()
        return _user_with(key) if key else None

    def _is_known_here(self) -> bool:
        return self._here or self._find() is not None

    def _post(self, letter: Mail) -> SendAnswer:
        channel = self._channel()
        if channel is None:
            return SendAnswer.GONE
        elsewhere.post(channel, letter)
        return SendAnswer.FORWARDED

    async def _apost(self, letter: Mail) -> SendAnswer:
        channel = await sync_to_async(self._channel)()
        if channel is None:
            return SendAnswer.GONE
        await elsewhere.apost(channel, letter)
        return SendAnswer.FORWARDED

    def _post_soon(self, letter: Mail) -> None:
        node = next(iter(nodes()), None)
        if node is not None:
            node.run_soon(node.forwarding.put, partial(self._apost, letter))
        elif runs_event_loop():
            _in_thread.put(partial(self._post, letter))
        else:
            self._post(letter)

    def _channel(self) -> str | None:
        """Return the channel of the node that holds the session; None where nobody does."""
        if self._here:
            return None
        row = Session.objects.open().filter(pk=self.id, node__state=NodeState.ALIVE)
        channel = row.values_list("node__channel", flat=True).first()
        if channel is None:
            return None
        elsewhere.check_layer_spans_processes()
        if not channel:
            raise NodeUnreachable(
                f"The node of session {self.id} isn't in the channel layer now: it has just "
                "begun, or its log tells why the layer fails there."
            )
        return channel


def _user_with(key: str) -> Any:
    """Return the user that `key` names in a session's row, as `rows.of_user` writes it."""
    model = get_user_model()
    users, tenant = model._default_manager.all(), None
    if app_settings.TENANT_CONTEXT and "/" in key:
        tenant, _, key = key.partition("/")
    database, _, key_there = key.partition(":")
    if database in connections:
        users, key = users.using(database), key_there
    try:
        primary_key = model._meta.pk.to_python(key)
    except ValidationError:  # of somebody that a middleware made up
        return None
    with tenant_context(tenant):
        return users.filter(pk=primary_key).first()


def open_sessions(endpoint: str | None) -> list[WebsocketSession]:
    """Return the sessions that are open now, as their nodes have told, the oldest first."""
    rows = Session.objects.open().order_by("opened_at", "pk")
    if endpoint is not None:
        rows = rows.filter(endpoint_path=endpoint)
    return [WebsocketSession(key) for key in rows.values_list("pk", flat=True)]
