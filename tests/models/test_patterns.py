"""The path of an endpoint: Django's path() syntax, below the prefix or absolute."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.urls import converters, register_converter
from django.urls.resolvers import RoutePattern
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from websockets_app.exceptions import InvalidEndpoint
from websockets_app.models.patterns import (
    Capture,
    compile_route,
    route,
    url_key,
    validate_endpoint,
)

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
        ("room-<int:n>.json", f"{PREFIX}room-7.json", {"n": 7}),
        ("<str:a>a", f"{PREFIX}aaa", {"a": "aa"}),
        (
            "<slug:a>/x-<path:b>.y/<int:c>",
            f"{PREFIX}a/x-1//2.y/3",
            {"a": "a", "b": "1//2", "c": 3},
        ),
    ],
)
def test_a_path_matches_and_its_values_are_captured(
    endpoint: str, path: str, params: dict[str, Any]
) -> None:
    assert compile_route(endpoint).match(path) == params


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
        ("room-<int:n>-0", f"{PREFIX}room-0"),
        ("<path:a>/b/<str:c>", f"{PREFIX}b/c"),
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


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("r/<slug:a>-<slug:b>-<slug:c>-z", "in <slug:a>/<slug:b>/<slug:c>"),
        ("trio/<str:a>-<str:b>-<str:c>", "3 captures in one segment"),
        ("<a><b>", "in <a>/<b>"),
        ("<path:a>-<int:b>", "in <path:a>/<int:b>"),
        ("<path:a>/<path:b>", "'a' and 'b' capture several segments each.* use str or slug"),
        ("<path:a>/x/<str:b>/<path:c>", "'a' and 'c'"),
        ("<int:x>/<int:x>", "two captures are named 'x'"),
    ],
)
def test_a_pattern_that_could_divide_a_path_in_several_ways_is_refused_with_advice(
    endpoint: str, advice: str
) -> None:
    with pytest.raises(ValidationError, match=f"no path that can be served.*{advice}"):
        validate_endpoint(endpoint)


SEGMENTS = (
    "a", "-", "a-b", "<x{}>", "<int:n{}>", "a-<int:n{}>", "<slug:s{}>-z", "-<str:t{}>-",
    "<uuid:u{}>", "<path:p{}>", "a<path:p{}>-", "<odd:o{}>", "<spare:q{}>a",
)  # fmt: skip
UUID = "0b9d0c5e-6d0c-4a66-8a55-2f4d0a7b4c11"
VALUES = {"int": "7", "odd": "78", "uuid": [UUID], "slug": "a-", "spare": ["", "a", "a-7"]}
PARTS = st.text("a-0z\né", max_size=5) | st.sampled_from(["", "a-b", "a-7", "7", UUID, "-a-"])


class Odd(converters.IntConverter):
    def to_python(self, value: str) -> int:
        if int(value) % 2 == 0:
            raise ValueError
        return int(value)


class Spare:
    """A converter of a site: it may capture nothing, and its regex has alternatives."""

    regex = "|a|a-[0-9]*"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class Cubic(Spare):
    regex = "a*a*a*b"


class Rest(converters.PathConverter):
    regex = "[a-z/]+"


@pytest.fixture(scope="module", autouse=True)
def _converters() -> Iterator[None]:
    registered = dict(converters.REGISTERED_CONVERTERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for converter in (Odd, Spare, Cubic, Rest):
            register_converter(converter, converter.__name__.lower())
    yield
    converters.REGISTERED_CONVERTERS.clear()
    converters.REGISTERED_CONVERTERS.update(registered)
    converters.get_converters.cache_clear()


@st.composite
def servable(draw: st.DrawFn) -> str:
    """Return an endpoint that is accepted, with and without captures."""
    drawn = draw(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=5))
    endpoint = "/" + "/".join(segment.format(index) for index, segment in enumerate(drawn))
    assume(sum(segment.count("<path") for segment in drawn) <= 1)
    return endpoint


@st.composite
def paths_of(draw: st.DrawFn, endpoint: str) -> str:
    """Return a path that looks like those of `endpoint`, or any."""
    parts = []
    for segment in endpoint[1:].split("/"):
        before, _, rest = segment.partition("<")
        capture, _, after = rest.partition(">")
        values = st.sampled_from(VALUES.get(capture.partition(":")[0], "a"))
        if capture.startswith("path"):
            values = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
        parts.append(before + draw(values) + after if rest else before)
    index = draw(st.integers(0, 2 * len(parts)))  # one part may be another, or missing
    if index < len(parts):
        parts[index : index + 1] = draw(st.lists(PARTS, max_size=2))
    return "/".join(parts)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_what_an_accepted_pattern_matches_is_what_django_matches(data: st.DataObject) -> None:
    endpoint = data.draw(servable())
    path = data.draw(paths_of(endpoint))
    expected = RoutePattern(endpoint[1:], is_endpoint=True).match(path)
    assert compile_route(endpoint).match(path) == (expected and expected[2])


@settings(deadline=None)
@given(servable(), st.text("-/a0z", max_size=60), st.integers(1, 30))
@example("/<slug:a>-z/<path:b>/-<str:c>-/<int:d>", "-/", 1000)
def test_each_character_of_a_path_is_given_to_one_regex_at_most(
    endpoint: str, piece: str, times: int
) -> None:
    """The regexes of Django's converters take linear time, and so does the whole match."""
    given_to_regexes: list[str] = []
    accepts = Capture.accepts

    def count(self: Capture, text: str) -> bool:
        given_to_regexes.append(text)
        return accepts(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Capture, "accepts", count)
        compile_route(endpoint).match(piece * times)
    assert len(given_to_regexes) <= endpoint.count("<")
    assert sum(map(len, given_to_regexes)) <= len(piece * times)


@pytest.mark.parametrize(
    ("endpoint", "path", "params"),
    [
        ("/<odd:n>", "7", {"n": 7}),
        ("/<odd:n>", "8", None),  # to_python raises ValueError
        ("/a<spare:x>a", "aa", {"x": ""}),
        ("/a<spare:x>a", "a", None),
    ],
)
def test_a_converter_of_the_site_matches_as_in_django(
    endpoint: str, path: str, params: dict[str, Any] | None
) -> None:
    assert compile_route(endpoint).match(path) == params


def test_a_regex_of_the_site_sees_255_characters_at_most() -> None:
    pattern = compile_route("/<cubic:x>")
    assert pattern.match("a" * 254 + "b") is not None
    began = time.process_time()
    assert pattern.match("a" * 255 + "b") is None
    assert pattern.match("a" * 2048) is None
    assert time.process_time() - began < 1


def test_a_converter_of_the_site_takes_slashes_if_it_is_derived_from_djangos_path() -> None:
    assert compile_route("/<rest:x>/<int:y>").match("a/b/7") == {"x": "a/b", "y": 7}
    with pytest.raises(InvalidEndpoint, match="'x' and 'y'"):
        compile_route("/<rest:x>/<path:y>")


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
