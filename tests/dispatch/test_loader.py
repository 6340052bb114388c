"""A handler's callbacks, and how each wants to be called: worked out once, refused early."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler
from websockets_app.core.call import Call
from websockets_app.core.states import Method
from websockets_app.dispatch import loader
from websockets_app.exceptions import HandlerInvalid


class Peer:
    """What a call asks of its peer."""

    handle: Any = "the handle"
    params = MappingProxyType({"room": "kitchen"})
    user = "tom"


CALL = Call(Method.ON_MESSAGE, Peer(), "hello", "an error", 1000, "bye")
EVERYTHING = {
    "message": "hello",
    "error": "an error",
    "session": "the handle",
    "params": {"room": "kitchen"},
    "code": 1000,
    "reason": "bye",
    "user": "tom",
}


def callback(write_handler: WriteHandler, source: str, name: str = "on_message") -> Any:
    return getattr(loader.load("python", write_handler("module", source)), name)


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("", []),
        ("message", ["message"]),
        ("message, session", ["message", "session"]),
        ("session, message", ["session", "message"]),
        ("user, reason, code, params, session, error, message", [*reversed(EVERYTHING)]),
        ("*, message", ["message"]),
        ("message, /", ["message"]),
        ("message, /, code, *, user", ["message", "code", "user"]),
        ("message=None", ["message"]),
        ("message: str, *, user: object = None", ["message", "user"]),
    ],
)
def test_a_callback_gets_what_it_names_in_whatever_order_and_form(
    write_handler: WriteHandler, signature: str, names: list[str]
) -> None:
    returned = ", ".join(f"{name!r}: {name}" for name in names)
    source = f"def on_message({signature}):\n    return {{{returned}}}\n"
    assert callback(write_handler, source).invoke(CALL) == {n: EVERYTHING[n] for n in names}


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        ("mesage", "mesage"),
        ("message, extra=1", "extra=1"),
        ("*args", "\\*args"),
        ("**kwargs", "\\*\\*kwargs"),
        ("*message", "\\*message"),
        ("self, message", "self"),
    ],
)
def test_a_callback_that_asks_for_something_unknown_is_refused_when_it_is_loaded(
    write_handler: WriteHandler, signature: str, told: str
) -> None:
    name = write_handler("module", f"def on_message({signature}): pass\n")
    with pytest.raises(HandlerInvalid, match=f"{name}.on_message asks for '{told}'") as refused:
        loader.load("python", name)
    assert "message, error, session, params, code, reason, user" in str(refused.value)


def test_may_open_may_ask_for_less(write_handler: WriteHandler) -> None:
    source = "def on_open(): pass\ndef may_open({}): return True\n"
    fine = callback(write_handler, source.format("user, params, session"), "may_open")
    assert fine.invoke(CALL) is True
    name = write_handler("curious", source.format("message"))
    with pytest.raises(HandlerInvalid, match="user, params, session"):
        loader.load("python", name)


@pytest.mark.parametrize(
    "source", ["", "def may_open(): return True", "def on_mesage(message): pass", "on_open = 1"]
)
def test_a_module_without_a_callback_is_refused(write_handler: WriteHandler, source: str) -> None:
    name = write_handler("module", source)
    with pytest.raises(HandlerInvalid, match="has no callback"):
        loader.load("python", name)


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_error", "on_close"])
def test_each_callback_is_optional(write_handler: WriteHandler, name: str) -> None:
    handler = loader.load("python", write_handler("module", f"def {name}(): pass"))
    for other in ("on_open", "on_message", "on_error", "on_close", "may_open"):
        assert (getattr(handler, other) is not None) == (other == name)


@pytest.mark.parametrize(
    ("source", "is_async"),
    [
        ("def on_message(): pass", False),
        ("async def on_message(): pass", True),
        ("import functools\nasync def f(message): pass\non_message = functools.partial(f)", True),
        (
            "class C:\n    async def __call__(self, message): pass\non_message = C()",
            True,
        ),
        ("class C:\n    def __call__(self, message): pass\non_message = C()", False),
        (
            "class C:\n    async def receive(self, message): pass\non_message = C().receive",
            True,
        ),
        (
            "from asgiref.sync import sync_to_async\n"
            "@sync_to_async\ndef on_message(message): pass\n",
            True,
        ),
    ],
)
def test_asynchronous_callbacks_are_recognised_in_every_shape(
    write_handler: WriteHandler, source: str, is_async: bool
) -> None:
    assert callback(write_handler, source).is_async is is_async


def test_a_decorated_callback_is_called_with_what_the_function_inside_names(
    write_handler: WriteHandler,
) -> None:
    source = """
import functools

def polite(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return "please " + function(*args, **kwargs)
    return wrapper

@polite
def on_message(user, message):
    return user + message
"""
    assert callback(write_handler, source).invoke(CALL) == "please tomhello"


def test_what_was_loaded_stays_and_is_shared(write_handler: WriteHandler) -> None:
    name = write_handler("module", "def on_message(): pass")
    assert loader.load("python", name) is loader.load("python", name)


def test_a_problem_is_told_and_no_problem_is_nothing(write_handler: WriteHandler) -> None:
    assert loader.problem_of("python", "handlers.echo") == ""
    assert "HANDLER_PACKAGES" in loader.problem_of("python", "os")
    assert "No engine" in loader.problem_of("lua", "handlers.echo")
    assert "boom" in loader.problem_of(
        "python", write_handler("module", "raise RuntimeError('boom')")
    )
