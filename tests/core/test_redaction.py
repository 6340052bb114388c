"""Secrets in recorded payloads."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.infrastructure.waiting import SCALE
from websockets_app.core.redaction import redactor

redact = redactor(["password", "token"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"token": "abc", "n": 1}', '{"token": "…", "n": 1}'),
        ('{"accessToken":"a\\"b,}","x":"y"}', '{"accessToken":"…","x":"y"}'),
        ('{"password": 12345, "x": [1]}', '{"password": "…", "x": [1]}'),
        ('{"a": {"PASSWORD": null}}', '{"a": {"PASSWORD": "…"}}'),
        ('{"token": "cut in the mid', '{"token": "…"'),
        ("user=tom&password=abc&x=1", "user=tom&password=…&x=1"),
        ("auth_token=abc; other=1", "auth_token=…; other=1"),
        ("a token of my esteem", "a token of my esteem"),
        ('{"text": "my token: abc"}', '{"text": "my token: abc"}'),
        ("", ""),
    ],
)
def test_values_are_hidden_by_the_names_that_they_go_by(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_without_names_nothing_is_hidden() -> None:
    assert redactor([])("password=abc") == "password=abc"


@given(st.text(max_size=40))
def test_no_value_of_a_secret_member_is_shown(value: str) -> None:
    text = json.dumps({"before": 1, "my_password": f"<{value}>", "after": 2}, ensure_ascii=False)
    assert json.loads(redact(text)) == {"before": 1, "my_password": "…", "after": 2}


@pytest.mark.parametrize(
    "hostile",
    [
        "token" * 3_000, '"token' * 2_500, '"token":' * 2_000, '"token":"' * 1_500,
        "token=" * 2_500, '"' * 16_000, "\\" * 16_000, '"token":"' + "\\" * 15_000, "a" * 16_000,
    ],
)  # fmt: skip
def test_no_payload_takes_long(hostile: str) -> None:
    begun = time.process_time()
    redact(hostile)
    assert time.process_time() - begun < 0.2 * SCALE
