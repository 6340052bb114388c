"""What a keeper tells of its client: its state in the row, problems as events, all in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from ..core.states import ClientState, EventKind, check_client_transition
from ..node.node import Node
from ..recording.facts import moment
from ..redaction import clean, get_logger
from .config import ClientConfig
from .connection import Connection
from .leases import Hold, Leases

logger = get_logger(__name__)

_REASON_LIMIT: Final = 500


class Teller:
    """Speaks for one client, and of the connection that it has."""

    def __init__(
        self, node: Node, leases: Leases, hold: Hold, config: Callable[[], ClientConfig]
    ) -> None:
        self.state = ClientState.UNASSIGNED
        self._recorder = node.recorder
        self._leases = leases
        self._hold = hold
        self._config = config
        self._connection: Connection | None = None
        self._counted = (0, 0)

    def begin(self, connection: Connection) -> None:
        """Speak of another connection from now on."""
        self._connection = connection
        self._counted = (0, 0)
        self._leases.put(self._hold, connection_id=connection.id)

    def tell(self, state: ClientState, reason: str, **values: Any) -> None:
        """Change the state, where the state machine allows it, and let that be written."""
        self.state = check_client_transition(self.state, state)
        text = clean(reason, _REASON_LIMIT)
        now = moment(time.time())
        self._leases.put(self._hold, state=state, reason=text, since=now, **values)
        level = logging.WARNING if state == ClientState.FAILED else logging.INFO
        logger.log(
            level, "Client %s: %s%s", self._config().name, state, f": {text}" if text else "",
            extra=self.log_extra(),
        )  # fmt: skip

    def problem(self) -> None:
        """Tell why the client's row can't be used, or its handler."""
        config = self._config()
        logger.error("Client %s: %s", config.name, config.problem, extra=self.log_extra())
        self._recorder.add_own(EventKind.PROBLEM, config.subject, detail=config.problem)

    def doubt(self, messages: int) -> None:
        """Tell of messages of which nobody knows whether they arrived."""
        config = self._config()
        text = f"Messages of the outbox that may have arrived or not: {messages}"
        logger.warning("Client %s: %s", config.name, text, extra=self.log_extra())
        self._recorder.add_own(EventKind.ERROR, config.subject, detail=text)

    def count(self) -> None:
        """Let the counters of the connection be written where they changed."""
        if self._connection is not None:
            record = self._connection.record
            counts = (record.messages_in, record.messages_out)
            if counts != self._counted:
                self._counted = counts
                self._leases.put(self._hold, messages_in=counts[0], messages_out=counts[1])

    def log_extra(self) -> dict[str, Any]:
        connection = self._connection.id if self._connection else ""
        return {"client": self._config().name, "connection": connection}
