"""The words of peers neither begin a log line nor fill a page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.text import tame

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)


@given(ANY_TEXT, st.integers(1, 250))
def test_whatever_comes_in_what_goes_out_is_printable_and_bounded(text: str, limit: int) -> None:
    tamed = tame(text, limit)
    assert tamed.isprintable()
    assert len(tamed) <= limit
    tamed.encode()


def test_what_is_harmless_and_short_stays_as_it_is() -> None:
    assert tame("Grüße, 世界!") == "Grüße, 世界!"


def test_a_line_break_is_shown_and_begins_no_line() -> None:
    assert tame("a\r\nERROR root: b") == "a\\r\\nERROR root: b"


def test_what_was_cut_says_so() -> None:
    assert tame("x" * 300, 10) == "x" * 9 + "…"
    assert tame("\0" * 10, 10).endswith("…")
