from __future__ import annotations

import time
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from websockets_app.inbound.config import EndpointConfig
from websockets_app.inbound.registry import MAX_PATH_LENGTH, Registry
from websockets_app.models.patterns import url_key, validate_endpoint
from websockets_app.models.shadowing import Overlap, overlap

PREFIX = "/websockets/v4/service/"


def config(key: int, endpoint: str, **fields: Any) -> EndpointConfig:
    defaults: dict[str, Any] = {
        "engine": "python", "reference": "", "handler": None, "services": (),
        "flaw": "", "problem": "", "access": "public", "permission": "",
        "groups": frozenset(), "subprotocols": (), "origins": (), "allow_missing_origin": False,
        "accept_users_without_row": False,
        "max_message_size": 1, "inbox_messages": 1, "inbox_bytes": 1, "on_change": "keep",
        "on_handler_error": "continue", "record_messages": "counters",
        "messages_per_second": 0.0, "message_burst": 1, "rate_scope": "session",
        "connections_per_minute": 0, "connection_burst": 1,
        "max_sessions": 0, "max_sessions_per_user": 0, "max_sessions_per_address": 0,
        "idle_timeout": 0.0, "send_timeout": 0.0,
    }  # fmt: skip
    return EndpointConfig(id=key, endpoint=endpoint, **{**defaults, **fields})


def registry(*configs: EndpointConfig) -> Registry:
    made = Registry()
    made.replace({config.id: config for config in configs}, ())
    return made


def test_a_literal_endpoint_is_found_below_the_prefix_only() -> None:
    found = registry(config(1, "my-endpoint")).match(PREFIX + "my-endpoint")
    assert found is not None
    assert (found.config.id, dict(found.params)) == (1, {})
    assert registry(config(1, "my-endpoint")).match("/my-endpoint") is None
    assert registry(config(1, "my-endpoint")).match(PREFIX + "my-endpoint/") is None


def test_captured_values_are_converted_params() -> None:
    found = registry(config(1, "room/<int:number>/<slug:name>")).match(PREFIX + "room/7/a-b")
    assert found is not None
    assert dict(found.params) == {"number": 7, "name": "a-b"}


def test_an_endpoint_with_a_leading_slash_is_absolute() -> None:
    found = registry(config(1, "/service/<str:type>")).match("/service/js")
    assert found is not None
    assert dict(found.params) == {"type": "js"}
    assert registry(config(1, "/service/<str:type>")).match(PREFIX + "service/js") is None


@pytest.mark.parametrize(
    ("older", "newer", "path"),
    [
        ("ticker", "/websockets/v4/service/ticker", "ticker"),
        ("/websockets/v4/service/ticker", "ticker", "ticker"),
        ("chat/<slug:room>", "/websockets/v4/service/chat/<slug:name>", "chat/a"),
        ("chat/<room>", "chat/<str:name>", "chat/a"),
    ],
)
def test_of_two_rows_with_one_url_the_older_is_served(older: str, newer: str, path: str) -> None:
    both = registry(config(2, newer), config(1, older))
    found = both.match(PREFIX + path)
    assert found is not None
    assert found.config.id == 1
    both.replace({}, [1])
    found = both.match(PREFIX + path)
    assert found is not None
    assert found.config.id == 2


PIECES = {
    "a": "a", "17": "17", "x_y": "x_y",
    "<x{}>": r"[a0é .-]{1,3}", "<str:y{}>": r"[a0é .-]{1,3}", "<int:n{}>": r"[0-9]{1,3}",
    "<slug:s{}>": r"[aA0_-]{1,3}", "<path:p{}>": r"[a0-]{1,2}(/[a0-]{1,2})?",
}  # fmt: skip
"""What an endpoint may be made of, and an expression for the values that each piece takes."""


@st.composite
def endpoints_and_paths(draw: st.DrawFn) -> tuple[str, str]:
    """Return an endpoint that is accepted, and a path that it matches."""
    pieces = draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3))
    separators = draw(st.lists(st.sampled_from(["/", "-"]), min_size=3, max_size=3))
    beginning, endpoint, path = draw(st.sampled_from(["", PREFIX])), "", ""
    for number, (piece, separator) in enumerate(zip(pieces, separators, strict=False)):
        value = draw(st.from_regex(PIECES[piece], fullmatch=True))
        endpoint += (separator if number else "") + piece.format(number)
        path += (separator if number else "") + value
    assume(config(0, beginning + endpoint).pattern is not None)
    return beginning + endpoint, PREFIX + path


@settings(deadline=None)
@given(endpoints_and_paths(), endpoints_and_paths())
def test_what_shadows_an_endpoint_is_what_is_served_instead(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    (older, _), (newer, path) = one, other
    found = registry(config(2, newer), config(1, older)).match(path)
    assert found is not None
    verdict = overlap(older, newer)
    if verdict is not Overlap.SOME:
        assert found.config.id == (1 if verdict is Overlap.ALL else 2)
    if url_key(older) == url_key(newer):
        assert verdict is Overlap.ALL


@pytest.mark.parametrize("pattern_is_older", [True, False])
def test_where_two_match_the_older_wins(pattern_is_older: bool) -> None:
    pattern, literal = (1, 2) if pattern_is_older else (2, 1)
    both = registry(config(pattern, "chat/<slug:room>"), config(literal, "chat/lobby"))
    found = both.match(PREFIX + "chat/lobby")
    assert found is not None
    assert found.config.id == 1
    other = both.match(PREFIX + "chat/other")
    assert other is not None
    assert other.config.id == pattern


def test_of_patterns_that_begin_alike_and_otherwise_the_oldest_that_matches_wins() -> None:
    many = registry(
        config(1, "room/<int:number>"),
        config(2, "<slug:any>/<slug:other>"),
        config(3, "room/kitchen/<path:rest>"),
        config(4, "room/<slug:name>"),
        config(5, "ro<str:rest>"),
    )
    paths = {"room/7": 1, "room/kitchen": 2, "room/kitchen/a/b": 3, "room/a.b": None, "rot": 5}
    for path, key in paths.items():
        found = many.match(PREFIX + path)
        assert (found and found.config.id) == key, path


def test_of_ten_thousand_patterns_those_alone_are_tried_that_begin_as_the_path_does() -> None:
    many = registry(*(config(key, f"shop/{key}/<slug:item>") for key in range(1, 10_001)))
    found = many.match(PREFIX + "shop/10000/lamp")
    assert found is not None
    assert found.config.id == 10_000
    tried = [one.id for one in many._configs.values() if "pattern" in vars(one)]
    assert tried == [10_000]


def test_a_row_whose_pattern_is_invalid_is_found_by_its_beginning_unless_another_matches() -> None:
    many = registry(
        config(1, "a/<int:id"), config(2, "b/<nope:x>"), config(3, "b/fine"),
        config(4, "b/<int:n>"), config(5, "b/<str:x>-<str:y>"), config(6, "c?d"),
    )  # fmt: skip
    paths = {"a/7": 1, "b/fine": 3, "b/7": 4, "b/x-y": 2, "b": None, "c?d": None, "d": None}
    for path, key in paths.items():
        found = many.match(PREFIX + path)
        assert (found and found.config.id) == key, path
        assert key not in (1, 2) or found == (found and (found.config, {}))


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("r/<slug:a>-<slug:b>-<slug:c>-z", "r/" + "-" * 2000),
        ("trio/<str:a>-<str:b>-<str:c>", "trio/" + "-" * 2000 + "/"),
        ("two/<path:a>/<path:b>/<path:c>/z", "two" + "/" * 2000),
        ("one/<path:a>/<slug:b>/<slug:c>/<slug:d>/z", "one/" + "a/" * 1000),
    ],
)
def test_no_stored_pattern_and_no_path_keep_the_process_busy(endpoint: str, path: str) -> None:
    attacked = registry(config(1, endpoint), config(2, "<path:rest>/never"))
    began = time.process_time()
    attacked.match(PREFIX + path)
    assert time.process_time() - began < 0.5


def test_a_path_of_more_than_2048_characters_leads_nowhere() -> None:
    rest = registry(config(1, "/files/<path:rest>"))
    assert rest.match("/files/".ljust(MAX_PATH_LENGTH, "a")) is not None
    assert rest.match("/files/".ljust(MAX_PATH_LENGTH + 1, "a")) is None


def test_a_path_without_a_leading_slash_leads_nowhere() -> None:
    """Django serves none either; `/application` has one left below the script name `/app`."""
    assert registry(config(1, "/lication")).match("lication") is None


def test_a_removed_row_is_no_longer_matched_and_a_changed_one_in_its_new_form() -> None:
    both = registry(config(1, "a"), config(2, "b"))
    both.replace({2: config(2, "c")}, [1])
    assert both.match(PREFIX + "a") is None
    assert both.match(PREFIX + "b") is None
    assert both.match(PREFIX + "c") is not None


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "/", "..", "a/../b", "../a", "a//b", "./a", "a/..", "a?x=1", "a#b", "a\\b", "a\nb",
        "a/<int:id", "<nope:x>", "<int:1x>", "<str:a>/<str:a>", "//evil", "a\x00b",
    ],
)  # fmt: skip
def test_what_is_no_servable_path_is_refused_with_a_reason(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        validate_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["a", "a-b_c.d", "chat/<slug:room>", "/service/<str:type>", "<path:rest>", "ü"]
)
def test_what_is_a_servable_path_is_accepted(endpoint: str) -> None:
    validate_endpoint(endpoint)
