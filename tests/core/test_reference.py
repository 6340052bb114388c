"""Which spellings mean one handler, and which references can never be imported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websockets_app.core.reference import candidates, is_allowed, is_below, split
from websockets_app.exceptions import HandlerNotAllowed

PACKAGES = ("handlers", "shared.handlers")
APPS = ("shop", "websockets_app")


@pytest.mark.parametrize(
    "spelling",
    [
        "my_project.ws_handler",
        "my_project/ws_handler",
        "my-project/ws-handler",
        "my-project/ws-handler.py",
        "my-project/ws-handler.js",
        "/my-project/ws-handler.js",
        " /my-project/ws-handler.py ",
    ],
)
def test_every_spelling_means_one_module(spelling: str) -> None:
    assert split(spelling) == ("my_project", "ws_handler")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "/",
        ".",
        "..",
        "../secrets",
        "a/../b",
        "a//b",
        "//a",
        "a..b",
        ".a",
        "a.",
        "_private",
        "a/_private",
        "a.__init__",
        "-a",
        "a b",
        "a;b",
        "a:b",
        "a\0b",
        "a\\b",
        "1a",
        "a.1",
        "C:/a",
        "http://a/b",
        "a/js.py",
        "a.py.py",
    ],
)
def test_what_is_no_path_of_public_modules_is_refused(reference: str) -> None:
    with pytest.raises(HandlerNotAllowed, match=r"no handler (reference|module)"):
        split(reference)


def test_a_refusal_shows_how_to_write_it() -> None:
    with pytest.raises(HandlerNotAllowed) as refused:
        split("my project")
    assert "'my project'" in str(refused.value)
    assert "my_project.ws_handler" in str(refused.value)


def test_a_relative_reference_is_looked_up_below_each_package_in_their_order() -> None:
    assert candidates("chat/room", PACKAGES, APPS) == (
        "handlers.chat.room",
        "shared.handlers.chat.room",
    )


@pytest.mark.parametrize(
    "reference",
    [
        "handlers.echo",
        "handlers",
        "shared.handlers.echo",
        "shop.websocket_handlers",
        "shop.websocket_handlers.orders",
        "shop/websocket-handlers/orders.js",
    ],
)
def test_a_reference_into_the_allow_list_is_absolute(reference: str) -> None:
    assert candidates(reference, PACKAGES, APPS) == (".".join(split(reference)),)


@pytest.mark.parametrize(
    "reference",
    ["handlersx.echo", "shop.views", "shop.websocket_handlersx", "os", "other.websocket_handlers"],
)
def test_everything_else_is_only_looked_up_below_the_packages(reference: str) -> None:
    assert candidates(reference, PACKAGES, APPS) == (
        f"handlers.{reference}",
        f"shared.handlers.{reference}",
    )


@pytest.mark.parametrize(
    ("name", "is_public"),
    [
        ("_own", True),  # the site's setting names it
        ("_own.a", True),
        ("_own._a", False),
        ("shop.websocket_handlers.a", True),
        ("shop.websocket_handlers.__main__", False),
        ("_own.__init__", False),
        ("_own.a-b", False),
        ("_own.js", False),
        ("_own.", False),
        ("_own..a", False),
        ("_owned", False),
    ],
)
def test_only_public_modules_inside_the_allow_list_are_allowed(name: str, is_public: bool) -> None:
    assert is_allowed(name, ["_own"], ["shop"]) is is_public


def test_without_packages_a_relative_reference_is_refused_with_the_setting_named() -> None:
    with pytest.raises(HandlerNotAllowed, match="HANDLER_PACKAGES"):
        candidates("echo", (), APPS)
    assert candidates("shop.websocket_handlers", (), APPS) == ("shop.websocket_handlers",)


@given(st.text(alphabet="ab_.-/\\ é0jspy\0", max_size=20))
def test_no_reference_whatsoever_leads_out_of_the_allow_list(reference: str) -> None:
    try:
        names = candidates(reference, PACKAGES, APPS)
    except HandlerNotAllowed:
        return
    assert names
    for name in names:
        assert is_allowed(name, PACKAGES, APPS)
        assert all(part.isidentifier() and part[0] != "_" for part in name.split("."))


@given(st.text(alphabet="a_.-/jspy", min_size=1, max_size=20))
def test_a_name_that_was_found_once_is_absolute_from_then_on(reference: str) -> None:
    try:
        names = candidates(reference, PACKAGES, APPS)
    except HandlerNotAllowed:
        return
    for name in names:
        assert candidates(name, PACKAGES, APPS) == (name,)


def test_below_means_whole_names() -> None:
    assert is_below("handlers", "handlers")
    assert is_below("handlers.a.b", "handlers")
    assert not is_below("handlers_of_mine", "handlers")
    assert not is_below("handlers", "handlers.a")
