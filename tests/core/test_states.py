"""The states of clients and of messages, and which change may follow which."""

from __future__ import annotations

import itertools

import pytest

from websockets_app.core.states import (
    ClientState,
    OutboxStatus,
    check_client_transition,
    outbox_statuses_before,
)
from websockets_app.exceptions import IllegalTransition

FROM_EVERYWHERE = {ClientState.CONNECTING, ClientState.UNASSIGNED, ClientState.STOPPED}
FURTHER = {
    (ClientState.UNASSIGNED, ClientState.FAILED),
    (ClientState.CONNECTING, ClientState.OPEN),
    (ClientState.CONNECTING, ClientState.BACKOFF),
    (ClientState.CONNECTING, ClientState.FAILED),
    (ClientState.OPEN, ClientState.CLOSING),
    (ClientState.OPEN, ClientState.BACKOFF),
    (ClientState.OPEN, ClientState.FAILED),
    (ClientState.CLOSING, ClientState.BACKOFF),
    (ClientState.CLOSING, ClientState.FAILED),
}


@pytest.mark.parametrize(("old", "new"), [*itertools.product(ClientState, ClientState)])
def test_a_client_changes_as_the_machine_says_and_in_no_other_way(
    old: ClientState, new: ClientState
) -> None:
    if new in FROM_EVERYWHERE or (old, new) in FURTHER:
        assert check_client_transition(old, new) is new
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}; allowed: "):
            check_client_transition(old, new)


def test_every_state_leads_to_open_and_every_state_is_left_again() -> None:
    for state in ClientState:
        check_client_transition(state, ClientState.CONNECTING)
        check_client_transition(state, ClientState.STOPPED)
    check_client_transition(ClientState.CONNECTING, ClientState.OPEN)


Q, C, W, A, E, D, U = (
    OutboxStatus.QUEUED,
    OutboxStatus.CLAIMED,
    OutboxStatus.WRITTEN,
    OutboxStatus.ACKNOWLEDGED,
    OutboxStatus.EXPIRED,
    OutboxStatus.DEAD,
    OutboxStatus.UNCERTAIN,
)
WAYS_OF_A_MESSAGE = {
    *((Q, C), (C, W), (C, A), (W, A)),  # it is sent; what was written may be told with the pong
    *((C, Q), (W, Q)),  # it wasn't written after all, or is sent again
    *((C, U), (W, U)),  # nobody knows
    *((Q, E), (Q, D), (C, D), (W, D), (U, D)),  # it is given up
    *((U, Q), (E, Q), (D, Q)),  # an operator sends it again
}


@pytest.mark.parametrize(("old", "new"), [*itertools.product(OutboxStatus, OutboxStatus)])
def test_a_message_changes_as_the_machine_says_and_in_no_other_way(
    old: OutboxStatus, new: OutboxStatus
) -> None:
    assert (old in outbox_statuses_before(new)) == ((old, new) in WAYS_OF_A_MESSAGE)


def test_what_is_acknowledged_stays_so() -> None:
    assert not [new for old, new in WAYS_OF_A_MESSAGE if old is OutboxStatus.ACKNOWLEDGED]
