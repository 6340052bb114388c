"""The seed's 2.x service: modules called by name, over the frames of its documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler, serve
from tests.inbound.driver import Connection
from websockets_app import websockets
from websockets_app.dispatch.loader import problem_of
from websockets_app.inbound.serving import Serving
from websockets_app.models import Endpoint, Event
from websockets_app.websocket_handlers import FAILED, UNKNOWN_MODULE, WRONG_FORMAT, parse

__all__ = ["serve"]

Serve = Callable[..., Any]

SERVICE = {"/service/<str:type>": {"handler": "websockets_app.websocket_handlers"}}
CHAT = "/chat/chat_service.js"


def frame(module: str, **params: Any) -> str:
    """Return a frame as the seed's clients send them."""
    return json.dumps({"module": module, "params": params})


async def opened(path: str = "/service/js") -> Connection:
    connection = Connection(path)
    assert (await connection.connect())["type"] == "websocket.accept"
    return connection


async def answer(connection: Connection, message: str | bytes) -> Any:
    connection.send(message)
    return (await connection.next())["text"]


async def errors(serving: Serving) -> list[str]:
    assert await serving.node.recorder.flush()
    return [event.detail async for event in Event.objects.filter(kind="error").order_by("pk")]


@pytest.fixture
async def serving(serve: Serve) -> Any:
    return await serve(**SERVICE)


# The seed's chat


async def test_tom_and_jerry_talk_as_in_the_seeds_documentation(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    tom, jerry = await opened(), await opened()
    assert await answer(tom, frame(CHAT, type="welcome", **{"from": "Tom"})) == "Welcome Tom!"
    assert (
        await answer(jerry, frame(CHAT, type="welcome", **{"from": "Jerry"})) == "Welcome Jerry!"
    )
    hello = {"from": "Tom", "to": "Jerry", "message": "Hello Jerry!"}
    tom.send(frame(CHAT, type="message", **hello))
    assert (await jerry.next())["text"] == "Hello Jerry!"
    hi = {"from": "Jerry", "to": "Tom", "message": "Hi Tom!"}
    jerry.send(frame(CHAT, type="message", **hi))
    assert (await tom.next())["text"] == "Hi Tom!"
    listed = await answer(jerry, frame(CHAT, type="list", **{"from": "Tom"}))
    assert listed == '["Tom","Jerry"]'
    for connection in (tom, jerry):
        connection.leave()
        await connection.ended()
    printed = capfd.readouterr().err  # by two threads: their lines may come in one another's
    for line in (
        'list: ["Tom","Jerry"]', "registered Jerry", "registered Tom", "send to Jerry",
        "send to Tom",
    ):  # fmt: skip
        assert line in printed
    assert await errors(serving) == []


async def test_a_recipient_who_is_unknown_or_has_left_is_no_error(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    tom, jerry = await opened(), await opened()
    await answer(jerry, frame(CHAT, type="welcome", **{"from": "Jerry"}))
    jerry.leave()
    await jerry.ended()
    tom.send(frame(CHAT, type="message", to="Spike", message="Anybody?"))
    tom.send(frame(CHAT, type="message", to="Jerry", message="Still there?"))
    assert await answer(tom, frame(CHAT, type="list")) == '["Jerry"]'
    tom.leave()
    await tom.ended()
    said = capfd.readouterr().err
    assert "no session for Spike" in said
    assert "no session for Jerry" in said
    assert await errors(serving) == []


async def test_a_type_that_the_chat_does_not_know_is_passed_over(serving: Serving) -> None:
    tom = await opened()
    tom.send(frame(CHAT, type="dance"))
    assert await answer(tom, frame(CHAT, type="list")) == "[]"
    tom.leave()
    await tom.ended()
    assert await errors(serving) == []


# Frames


@pytest.mark.parametrize(
    "message",
    [
        "",
        "hello",
        '{"module": "/chat/chat_service.js"',
        '["/chat/chat_service.js"]',
        '"module"',
        "null",
        "{}",
        '{"module": null, "params": {}}',
        '{"module": 1, "params": {}}',
        '{"module": "/chat/chat_service.js", "params": []}',
        '{"module": "/chat/chat_service.js", "params": "x"}',
        '{"module": "/chat/chat_service.js", "params": {"n": NaN}}',
        '{"module": "/chat/chat_service.js", "params": {"n": ' + "1" * 5000 + "}}",
        '{"module": "' + "a." * 200 + '"}',
        '{"params": ' + "[" * 100_000,
        b'{"module": "/chat/chat_service.js"}',
    ],
)
def test_what_is_no_request_is_refused(message: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(message)


async def test_what_is_no_request_is_answered_so_and_the_session_goes_on(serving: Serving) -> None:
    connection = await opened()
    for message in ("hello", b"\x00", "[" * 100_000, "{}"):
        assert await answer(connection, message) == WRONG_FORMAT == "Wrong format of the request"
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()
    assert await errors(serving) == []


@pytest.mark.parametrize("message", ['{"module": "m"}', '{"module": "m", "params": null}'])
def test_a_request_may_do_without_params(message: str) -> None:
    assert parse(message) == ("m", {})


# What a module sees

LOOKS = """
from websockets_app import websockets

def handle(params):
    assert websockets.get_params() is params
    session = websockets.get_session()
    try:
        params["mine"] = 1
    except TypeError:
        changed = False
    return {
        "params": dict(params), "changed": changed, "session": session.id,
        "of_session": dict(session.params), "method": websockets.get_method(),
        "message": websockets.get_message(),
    }
"""


async def test_the_params_of_a_frame_keep_their_types_and_replace_nothing_else(
    serving: Serving, write_handler: WriteHandler
) -> None:
    write_handler("looks", LOOKS)
    connection = await opened()
    params = {
        "text": "ü", "int": 1, "float": 1.5, "yes": True, "none": None, "list": [1, ["a"]],
        "dict": {"a": 1}, "session": "mine", "websocket-session": "mine", "type": "x",
    }  # fmt: skip
    sent = frame("/looks.js", **params)
    told = json.loads(await answer(connection, sent))
    assert await serving.node.recorder.flush()
    (session,) = await websockets.aget_open_sessions()
    assert told == {
        "params": params, "changed": False, "session": session.id,
        "of_session": {"type": "js"}, "method": "onmessage", "message": sent,
    }  # fmt: skip
    connection.leave()
    await connection.ended()


ASYNCHRONOUS = """
import asyncio
from websockets_app import websockets

async def handle(params, session, user):
    await asyncio.sleep(0)
    seen = await asyncio.to_thread(websockets.get_params)
    await session.asend_text("first")
    return [seen["n"], params["n"], user.is_anonymous, websockets.get_params()["n"]]
"""


async def test_an_async_handle_works_in_the_sessions_task_and_sees_its_own_params(
    serving: Serving, write_handler: WriteHandler
) -> None:
    write_handler("asynchronous", ASYNCHRONOUS)
    one, two = await opened(), await opened()
    for number, connection in enumerate((one, two)):
        connection.send(frame("/asynchronous.js", n=number))
    for number, connection in enumerate((one, two)):
        assert (await connection.next())["text"] == "first"
        assert (await connection.next())["text"] == f"[{number},{number},true,{number}]"
        connection.leave()
        await connection.ended()
    assert websockets.get_params() is None


async def test_a_handle_behind_a_plain_decorator_is_awaited_too(
    serving: Serving, write_handler: WriteHandler
) -> None:
    write_handler(
        "decorated",
        "from websockets_app import websockets\n"
        "async def answer(params):\n"
        "    return websockets.get_params()['n']\n"
        "def handle(params):\n"
        "    return answer(params)\n",
    )
    connection = await opened()
    assert await answer(connection, frame("decorated", n="seven")) == "seven"
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_an_exception_of_handle_is_answered_and_recorded_and_the_session_goes_on(
    serving: Serving, write_handler: WriteHandler, form: str
) -> None:
    write_handler("fails", f"{form} handle(params):\n    raise ValueError(params['why'])")
    connection = await opened()
    assert await answer(connection, frame("/fails.js", why="so it is")) == FAILED
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()
    (detail,) = await errors(serving)
    assert detail.startswith("on_message: ValueError: so it is\n\nTraceback")
    assert "in handle" in detail


async def test_a_result_that_cannot_be_sent_is_answered_as_an_error(
    serving: Serving, write_handler: WriteHandler
) -> None:
    write_handler("unsendable", "def handle(params):\n    return object()")
    connection = await opened()
    assert await answer(connection, frame("/unsendable.js")) == FAILED
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()


# What can be called


REFUSED = {
    "/os.js": "HandlerNotFound",
    "subprocess": "HandlerNotFound",
    "../wsproject/settings.js": "HandlerNotAllowed",
    "_private": "HandlerNotAllowed",
    "": "HandlerNotAllowed",
    "/echo.js": "HandlerInvalid",
    "chat": "HandlerInvalid",
    "websockets_app.websocket_handlers": "HandlerInvalid",
    "helper": "HandlerInvalid",
    "greedy": "HandlerInvalid",
    "broken": "HandlerImportFailed",
}


async def test_only_a_module_of_the_allow_list_that_is_a_service_is_called(
    serving: Serving, write_handler: WriteHandler
) -> None:
    write_handler("helper", "def handle(session):\n    return 'called'")
    write_handler("greedy", "def handle(params, password):\n    return 'called'")
    write_handler("broken", "1 / 0")
    connection = await opened()
    for module, problem in REFUSED.items():
        expected = FAILED if problem == "HandlerImportFailed" else UNKNOWN_MODULE
        assert await answer(connection, frame(module)) == expected
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()
    told = [detail.split(": ")[1] for detail in await errors(serving)]
    assert dict(zip(REFUSED, told, strict=True)) == REFUSED


def test_a_row_that_names_a_service_as_its_handler_is_told_what_to_name() -> None:
    assert "websockets_app.websocket_handlers" in problem_of(
        "python", "handlers.chat.chat_service"
    )


# The type in the URL


async def test_the_type_is_the_seeds_or_an_engine(serving: Serving) -> None:
    for kind in ("js", "JS", "python"):
        connection = await opened(f"/service/{kind}")
        assert await answer(connection, frame(CHAT, type="list")) == "[]"
        connection.leave()
        await connection.ended()


async def test_another_type_is_refused_at_the_handshake(serving: Serving) -> None:
    connection = Connection("/service/groovy")
    assert (await connection.connect())["type"] != "websocket.accept"
    await connection.ended()


async def test_an_endpoint_without_a_type_serves_python(serve: Serve) -> None:
    await serve(service={"handler": "websockets_app.websocket_handlers"})
    connection = await opened("service")
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()


async def test_an_engine_of_the_sites_own_is_asked_for_its_service(
    serving: Serving, settings: Any, write_handler: WriteHandler
) -> None:
    write_handler(
        "shouting",
        "class Engine:\n"
        "    def resolve(self, reference):\n"
        "        return reference.upper()\n"
        "    def load(self, name):\n"
        "        return {'handle': lambda params: name + '!'}\n"
        "    def discover(self):\n"
        "        return []\n",
    )
    settings.WEBSOCKETS = settings.WEBSOCKETS | {
        "ENGINES": {
            "python": "websockets_app.dispatch.engines.PythonEngine",
            "Shout": "written_handlers.shouting.Engine",
        },
    }
    connection = await opened("/service/shout")
    assert await answer(connection, frame("hey")) == "HEY!"
    connection.leave()
    await connection.ended()


def test_the_app_brings_no_endpoint_of_its_own(db: None) -> None:
    assert not Endpoint.objects.exists()
