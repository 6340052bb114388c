"""The states of a client, and which change may follow which."""

from __future__ import annotations

import itertools

import pytest

from websockets_app.core.states import ClientState, check_client_transition
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
