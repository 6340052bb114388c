"""What goes over the wire for what a callback returns."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.dispatch.frames import as_frame, as_json, size_of
from websockets_app.exceptions import InvalidResult

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False).filter(
        lambda number: abs(number) != float("inf")
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("frame", ["", "text", "grüße", SafeString("<b>"), b"", b"\x00\xff"])
def test_text_and_binary_go_out_as_they_are(frame: str | bytes) -> None:
    assert as_frame(frame) is frame


@given(st.lists(JSON) | st.dictionaries(st.text(), JSON))
def test_a_dict_or_list_goes_out_as_json_that_means_the_same(value: Any) -> None:
    assert json.loads(as_frame(value)) == value


def test_json_is_compact_and_keeps_letters() -> None:
    assert as_frame({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'


def test_what_django_rows_hold_can_be_sent_as_json() -> None:
    value = OrderedDict(
        at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), day=date(2030, 1, 2),
        price=Decimal("1.50"), id=UUID(int=7),
    )  # fmt: skip
    assert json.loads(as_frame(value)) == {
        "at": "2030-01-02T03:04:05Z",
        "day": "2030-01-02",
        "price": "1.50",
        "id": str(UUID(int=7)),
    }


@pytest.mark.parametrize(
    "result", [1, 1.5, True, (1, 2), {1}, bytearray(b"x"), object(), range(2)]
)
def test_anything_else_is_refused_by_its_type(result: object) -> None:
    with pytest.raises(InvalidResult, match=type(result).__name__):
        as_frame(result)


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1}}, [b"x"]])
def test_what_json_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        as_frame(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_no_json_parser_takes_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        as_json([number])


@given(st.text())
def test_the_size_of_text_is_that_of_its_utf_8(text: str) -> None:
    assert size_of(text) == len(text.encode())


def test_text_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(InvalidResult, match="UTF-8"):
        size_of("\ud800")


def test_the_size_of_binary_is_its_length() -> None:
    assert size_of(b"\xff" * 5) == 5
