"""Which close codes go over the wire, and what they become where the server refuses them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.close_codes import (
    MAX_REASON_BYTES,
    CloseCode,
    code_on_the_wire,
    cut_reason,
    may_be_sent,
)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013])
def test_the_codes_of_the_standard_may_be_sent(code: int) -> None:
    assert may_be_sent(code)


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_codes_that_only_describe_an_end_are_never_sent(code: int) -> None:
    assert not may_be_sent(code)


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1016, 2999, 5000, 65536, 10**30])
def test_unknown_and_impossible_codes_are_never_sent(code: int) -> None:
    assert not may_be_sent(code)


@pytest.mark.parametrize("code", [3000, 3999, 4000, 4401, 4999])
def test_the_codes_of_libraries_and_applications_may_be_sent(code: int) -> None:
    assert may_be_sent(code)


@pytest.mark.parametrize(
    ("meant", "sent"), [(1000, 1000), (1001, 4001), (1011, 4011), (3001, 3001), (4401, 4401)]
)
def test_a_server_that_refuses_reserved_codes_sends_3000_more(meant: int, sent: int) -> None:
    assert code_on_the_wire(meant, server_sends_reserved_codes=False) == sent
    assert code_on_the_wire(meant, server_sends_reserved_codes=True) == meant


@given(st.sampled_from(CloseCode).filter(may_be_sent))
def test_every_code_of_ours_reaches_the_wire_as_one_that_may_be_sent(code: CloseCode) -> None:
    wire = code_on_the_wire(code, server_sends_reserved_codes=False)
    assert wire == 1000 or 3000 <= wire < 5000
    assert type(wire) is int  # Daphne refuses a member of an enum


@given(st.text())
def test_a_reason_is_cut_to_what_a_close_frame_holds_between_two_characters(reason: str) -> None:
    cut = cut_reason(reason)
    assert len(cut.encode()) <= MAX_REASON_BYTES
    assert reason.startswith(cut)
    assert cut == reason or len(cut.encode()) > MAX_REASON_BYTES - 4
