"""The path of an endpoint: Django's path() syntax, below the prefix or absolute."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from websockets_app.exceptions import InvalidEndpoint
from websockets_app.models.patterns import compile_route, route, url_key, validate_endpoint

PREFIX = "websockets/v4/service/"


@pytest.mark.parametrize(
    ("endpoint", "path", "params"),
    [
        ("my-endpoint", f"{PREFIX}my-endpoint", {}),
        ("chat/<slug:room>", f"{PREFIX}chat/kitchen", {"room": "kitchen"}),
        ("n/<int:number>/x", f"{PREFIX}n/7/x", {"number": 7}),
        ("files/<path:rest>", f"{PREFIX}files/a/b.txt", {"rest": "a/b.txt"}),
        ("/service/<str:type>", "service/js", {"type": "js"}),
        ("/absolute", "absolute", {}),
        ("grüße.v1+(x)", f"{PREFIX}grüße.v1+(x)", {}),
    ],
)
def test_a_path_matches_and_its_values_are_captured(
    endpoint: str, path: str, params: dict[str, Any]
) -> None:
    matched = compile_route(endpoint).match(path)
    assert matched is not None
    assert matched[2] == params


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("echo", f"{PREFIX}echo/more"),
        ("echo", f"{PREFIX}ech"),
        ("echo", f"x{PREFIX}echo"),
        ("echo", f"{PREFIX}echo\n"),
        ("chat/<slug:room>", f"{PREFIX}chat/a\n"),
        ("e.ho", f"{PREFIX}echo"),
        ("n/<int:number>", f"{PREFIX}n/seven"),
        ("chat/<slug:room>", f"{PREFIX}chat/a/b"),
    ],
)
def test_other_paths_do_not_match(endpoint: str, path: str) -> None:
    assert compile_route(endpoint).match(path) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "/",
        ".",
        "..",
        "/..",
        "a/../b",
        "a/./b",
        "a/..",
        "a/.",
        "a//b",
        "//a",
        "a?b",
        "a#b",
        "a\\b",
        "a\nb",
        "a\0b",
        "a\x1b[31mb",
        "a\u2028b",
        "caf%C3%A9",
        "a/%2e%2e/b",
        "a%2fb",
        "a%00",
        "<nosuch:x>",
        "<int:1x>",
        "<int:x>/<int:x>",
        "< int:x>",
        "<int:x",
        "int:x>",
        "<<int:x>>",
    ],
)
def test_what_nobody_can_ask_for_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidEndpoint):
        compile_route(endpoint)
    with pytest.raises(ValidationError, match="no path that can be served"):
        validate_endpoint(endpoint)


@given(st.text(alphabet="ab<>:/.int_? %é\0", max_size=25))
def test_every_text_is_compiled_or_refused_with_a_reason(endpoint: str) -> None:
    try:
        compile_route(endpoint)
    except InvalidEndpoint as error:
        reason = str(error)
    else:
        reason = f"{endpoint!r} is served"
    assert repr(endpoint) in reason


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ws/", "ws/echo"),
        ("ws", "ws/echo"),
        ("/ws/", "ws/echo"),
        ("", "echo"),
        ("/", "echo"),
        ("a/b", "a/b/echo"),
    ],
)
def test_the_prefix_may_be_written_with_or_without_slashes(
    settings: Settings, prefix: str, expected: str
) -> None:
    settings.WEBSOCKETS = {"PREFIX": prefix}
    assert route("echo") == expected
    assert route("/echo") == "echo"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ticker", "/websockets/v4/service/ticker"),
        ("chat/<slug:room>", "chat/<slug:name>"),
        ("chat/<slug:room>", "/websockets/v4/service/chat/<slug:name>"),
        ("<room>/<int:n>", "<str:name>/<int:number>"),
    ],
)
def test_endpoints_that_differ_only_in_writing_have_the_same_key(one: str, other: str) -> None:
    assert url_key(one) == url_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ticker", "/ticker"),
        ("ticker", "Ticker"),
        ("caf\u00e9", "cafe\u0301"),
        ("chat/<slug:room>", "chat/<str:room>"),
        ("chat/<slug:room>", "chat/room"),
        ("chat/<slug:room>", "news/<slug:room>"),
        ("<int:a>-<int:b>", "<int:a>/<int:b>"),
    ],
)
def test_endpoints_with_other_urls_have_another_key(one: str, other: str) -> None:
    assert url_key(one) != url_key(other)


def test_the_key_follows_the_prefix(settings: Settings) -> None:
    settings.WEBSOCKETS = {"PREFIX": ""}
    assert url_key("ticker") == url_key("/ticker")


def test_an_endpoint_in_decomposed_unicode_is_refused_with_the_composed_form() -> None:
    validate_endpoint("caf\u00e9")
    with pytest.raises(ValidationError, match=r"Unicode NFC.*: caf\u00e9"):
        validate_endpoint("cafe\u0301")
