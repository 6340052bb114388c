"""Secrets come from the environment and are shown nowhere."""

from __future__ import annotations

import pytest

from websockets_app.core.environment import AllowedVariables
from websockets_app.exceptions import CredentialMissing
from websockets_app.outbound.credentials import (
    ClientEnvironment,
    fill,
    fill_uri,
    redacted,
    redacted_headers,
)

ENVIRONMENT = ClientEnvironment(
    {
        "TOKEN": "s3cret&more",
        "HOST": "example.com:8443",
        "PASSWORD": "p@ss/word",
        "KEY": "nobody's business",
    },
    AllowedVariables(["TOKEN", "HOST", "PASSWORD", "NOT_THERE"]),
)


def test_a_header_reads_the_environment() -> None:
    assert fill("Bearer env:TOKEN", ENVIRONMENT, "header") == "Bearer s3cret&more"
    assert fill("no reference", ENVIRONMENT, "header") == "no reference"


def test_a_word_that_ends_in_env_is_no_reference() -> None:
    assert fill("myenv:TOKEN", ENVIRONMENT, "header") == "myenv:TOKEN"


def test_a_missing_variable_is_named_with_where_it_is_used() -> None:
    with pytest.raises(CredentialMissing, match=r"header Authorization .*env:NOT_THERE"):
        fill("Bearer env:NOT_THERE", ENVIRONMENT, "header Authorization")


@pytest.mark.parametrize("text", ["env:KEY", "Bearer env:TOKEN env:KEY", "env:TOKEN_2"])
def test_a_variable_that_no_setting_allows_is_not_read(text: str) -> None:
    with pytest.raises(CredentialMissing, match="CLIENT_ENVIRONMENT") as raised:
        fill(text, ENVIRONMENT, "header")
    with pytest.raises(CredentialMissing, match="CLIENT_ENVIRONMENT"):
        fill_uri(f"ws://a.example/?k={text}", ENVIRONMENT)
    assert "business" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "filled"),
    [
        ("wss://a.example/?token=env:TOKEN", "wss://a.example/?token=s3cret%26more"),
        ("wss://env:HOST/path", "wss://example.com:8443/path"),
        ("wss://me:env:PASSWORD@a.example/", "wss://me:p%40ss%2Fword@a.example/"),
        ("ws://a.example/x", "ws://a.example/x"),
    ],
)
def test_a_uri_is_filled_so_that_it_stays_a_uri(uri: str, filled: str) -> None:
    assert fill_uri(uri, ENVIRONMENT) == filled


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("wss://me:pass@a.example:444/x?token=abc&y", "wss://a.example:444/x?token=…&…"),
        ("ws://a.example", "ws://a.example"),
        ("ws://env:HOST/x", "ws://env:HOST/x"),
        ("ws://a.example:env:PORT/x", "ws://a.example:env:PORT/x"),
        ("/elsewhere?token=abc", "/elsewhere?token=…"),
        ("", ""),
        ("ws://[broken", "…"),
        ("me:secret@proxy.example:3128", "…"),
        ("http:me:secret@proxy.example", "…"),
        ("wss://me:se/cret@a.example/", "…"),
        ("wss://me:se?cret@a.example/", "…"),
        ("wss://me:1/secret@a.example/", "…"),
        ("wss://me:1?se=cret@a.example/", "…"),
        ("wss://me:a@b/secret@a.example/", "…"),
        ("wss://env:USER:env:PASSWORD/secret@a.example/", "…"),
        ("wss://a.example/%40me?email=me%40a.example", "wss://a.example/%40me?email=…"),
        ("wss://me:se#cret@a.example/", "…"),
    ],
)
def test_what_is_shown_of_a_uri_holds_no_secret(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("secret", "…"),
        ("env:TOKEN", "env:TOKEN"),
        ("Bearer env:TOKEN", "… env:TOKEN"),
        ("secret env:ONE; env:TWO", "… env:ONE env:TWO"),
    ],
)
def test_a_header_shows_only_its_references(value: str, shown: str) -> None:
    assert redacted_headers({"X-Key": value}) == {"X-Key": shown}


def test_headers_that_are_no_object_are_hidden() -> None:
    assert redacted_headers(["secret"]) == "…"
