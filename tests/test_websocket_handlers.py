"""The seed's 2.x service: modules called by name, over the frames of its documentation."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Q
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler, serve
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app import websockets
from websockets_app.dispatch.loader import problem_of
from websockets_app.inbound.serving import Serving
from websockets_app.models import Endpoint, Event, LoadError, SharedMember, SharedValue
from websockets_app.models.node import Now
from websockets_app.node.handler_retries import HandlerRetries
from websockets_app.recording.repeats import FIRST
from websockets_app.websocket_handlers import FAILED, UNKNOWN_MODULE, WRONG_FORMAT, parse

__all__ = ["serve"]

Serve = Callable[..., Any]

CHAT = "/chat/chat_service.js"


def service(*offered: str) -> dict[str, Any]:
    """Return an endpoint that offers the chat, and the modules `offered`."""
    services = ["handlers.chat.chat_service", *offered]
    fields = {"handler": "websockets_app.websocket_handlers", "services": services}
    return {"/service/<str:type>": fields}


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
    return await serve(**service())


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


async def test_the_chat_prints_no_control_characters_that_peers_choose(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    tom = await opened()
    name = "Tom\nregistered Root\x1b[2J\u202e\u2028ü"
    await answer(tom, frame(CHAT, type="welcome", **{"from": name}))
    tom.leave()
    await tom.ended()
    said = capfd.readouterr().err
    assert "registered Tom\\nregistered Root\\x1b[2J\\u202e\\u2028ü\n" in said
    assert "registered Root" not in said.splitlines()


async def test_a_type_that_the_chat_does_not_know_is_passed_over(serving: Serving) -> None:
    tom = await opened()
    tom.send(frame(CHAT, type="dance"))
    assert await answer(tom, frame(CHAT, type="list")) == "[]"
    tom.leave()
    await tom.ended()
    assert await errors(serving) == []


async def test_a_name_of_the_chat_lasts_a_day_and_a_welcome_renews_it(serving: Serving) -> None:
    tom = await opened()
    await answer(tom, frame(CHAT, type="welcome", **{"from": "Tom"}))
    lasts = Q(expires_at__gt=Now() + timedelta(hours=23), expires_at__lt=Now() + timedelta(days=1))
    for model in (SharedValue, SharedMember):
        assert await model.objects.filter(lasts).acount() == 1
        await model.objects.all().aupdate(expires_at=Now() + timedelta(hours=1))
    await answer(tom, frame(CHAT, type="welcome", **{"from": "Tom"}))
    for model in (SharedValue, SharedMember):
        assert await model.objects.filter(lasts).acount() == 1
        await model.objects.all().aupdate(expires_at=Now())
    assert await answer(tom, frame(CHAT, type="list")) == "[]"
    tom.leave()
    await tom.ended()


async def test_the_chat_bounds_its_names(serving: Serving, monkeypatch: Any) -> None:
    tom = await opened()
    for name in ("", "x" * 41, 7, ["Tom"], None):
        said = await answer(tom, frame(CHAT, type="welcome", **{"from": name}))
        assert said == "A name has 1 to 40 characters."
        tom.send(frame(CHAT, type="message", to=name, message="hello"))
    monkeypatch.setattr("handlers.chat.chat_service.MAX_MEMBERS", 1)
    longest = "☃" * 40
    for name, said in (
        (longest, f"Welcome {longest}!"),
        ("Tom", "The chat is full."),
        (longest, "W"),
    ):
        assert (await answer(tom, frame(CHAT, type="welcome", **{"from": name}))).startswith(said)
    assert json.loads(await answer(tom, frame(CHAT, type="list"))) == [longest]
    assert await SharedValue.objects.acount() == await SharedMember.objects.acount() == 1
    tom.leave()
    await tom.ended()
    assert await errors(serving) == []


# Shared values

COLLECTS = """
from websockets_app import websockets

def handle(params):
    websockets.shared.set(params["key"], 1)
    return [websockets.shared.add("all", params["key"], timeout=60)]
"""
COLLECTS_TOO = """
from websockets_app import websockets

async def on_message(message):
    await websockets.shared.aset(message, 1)
    return [await websockets.shared.aadd("all", message)]
"""


async def test_the_handler_of_one_endpoint_cannot_use_up_what_others_may_share(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SHARED_ENTRIES": 4}
    collects = write_handler("collects", COLLECTS)
    other = {"/other": {"handler": write_handler("collects_too", COLLECTS_TOO)}}
    serving = await serve(**service(collects), **other)
    connection, elsewhere = await opened(), await opened("/other")
    for key in ("a", "b"):
        assert await answer(connection, frame("collects", key=key)) == "[true]"
    for key in ("c", "d", "a"):
        said = FAILED if key != "a" else "[false]"
        assert await answer(connection, frame("collects", key=key)) == said
    assert await answer(elsewhere, "c") == "[true]"
    for one in (connection, elsewhere):
        one.leave()
        await one.ended()
    found = await errors(serving)
    assert len(found) == 2
    assert "WEBSOCKETS['SHARED_ENTRIES'] allows 4" in found[0]
    owners = SharedValue.objects.order_by("key").values_list("key", "endpoint__endpoint")
    assert [row async for row in owners] == [
        ("a", "/service/<str:type>"), ("b", "/service/<str:type>"), ("c", "/other"),
    ]  # fmt: skip


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
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(**service(write_handler("looks", LOOKS)))
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
    serve: Serve, write_handler: WriteHandler
) -> None:
    await serve(**service(write_handler("asynchronous", ASYNCHRONOUS)))
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
    serve: Serve, write_handler: WriteHandler
) -> None:
    name = write_handler(
        "decorated",
        "from websockets_app import websockets\n"
        "async def answer(params):\n"
        "    return websockets.get_params()['n']\n"
        "def handle(params):\n"
        "    return answer(params)\n",
    )
    await serve(**service(name))
    connection = await opened()
    assert await answer(connection, frame("decorated", n="seven")) == "seven"
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_an_exception_of_handle_is_answered_and_recorded_and_the_session_goes_on(
    serve: Serve, write_handler: WriteHandler, form: str
) -> None:
    source = f"{form} handle(params):\n    raise ValueError(params['why'])"
    serving = await serve(**service(write_handler("fails", source)))
    connection = await opened()
    assert await answer(connection, frame("/fails.js", why="so it is")) == FAILED
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()
    (detail,) = await errors(serving)
    assert detail.startswith("on_message: ValueError: so it is\n\nTraceback")
    assert "in handle" in detail


async def test_a_result_that_cannot_be_sent_is_answered_as_an_error(
    serve: Serve, write_handler: WriteHandler
) -> None:
    name = write_handler("unsendable", "def handle(params):\n    return object()")
    await serve(**service(name))
    connection = await opened()
    assert await answer(connection, frame("/unsendable.js")) == FAILED
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()


# What can be called


UNKNOWN = [
    "/os.js", "subprocess", "../wsproject/settings.js", "_private", "", "/echo.js", "chat",
    "websockets_app.websocket_handlers", "chat..chat_service", "//chat/chat_service.js",
    "chat/chat_service.lua", "handlers", "payments", "payments\nERROR forged",
]  # fmt: skip


async def test_a_service_of_another_endpoint_is_not_called(
    serve: Serve, write_handler: WriteHandler
) -> None:
    payments = write_handler("payments", "def handle(params):\n    return 'paid'")
    restricted = {"handler": "websockets_app.websocket_handlers", "services": [payments]}
    serving = await serve(**service(), staff={**restricted, "access": "staff"})
    connection = await opened()
    for module in ("payments", "/payments.js", payments):
        assert await answer(connection, frame(module)) == UNKNOWN_MODULE
    connection.leave()
    await connection.ended()
    assert not [detail for detail in await errors(serving) if "Traceback" in detail]


async def test_an_endpoint_without_services_calls_none(serve: Serve) -> None:
    await serve(service={"handler": "websockets_app.websocket_handlers"})
    connection = await opened("service")
    assert await answer(connection, frame(CHAT, type="list")) == UNKNOWN_MODULE
    connection.leave()
    await connection.ended()


async def test_a_request_imports_and_looks_for_nothing(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("job", "payments"):
        write_handler(name, "def handle(params):\n    return 'called'")
    serving = await serve(**service())
    asked: list[str] = []
    with monkeypatch.context() as patch:  # Django imports while it cleans up after a test
        patch.setattr(importlib.util, "find_spec", asked.append)
        patch.setattr(importlib, "import_module", asked.append)
        connection = await opened()
        for module in [*UNKNOWN, "job", "written_handlers.job"]:
            assert await answer(connection, frame(module)) == UNKNOWN_MODULE
        assert await answer(connection, frame(CHAT, type="list")) == "[]"
        connection.leave()
        await connection.ended()
    assert asked == []
    assert "written_handlers.job" not in sys.modules
    assert serving.node.peers.busy == {}


async def test_a_service_that_cannot_be_imported_is_not_imported_again_for_each_request(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: HandlerRetries[Any]) -> None: ...

    monkeypatch.setattr(HandlerRetries, "step", never)
    source = (
        "import pathlib\n"
        "with pathlib.Path(__file__).with_suffix('.log').open('a') as log:\n"
        "    log.write('imported\\n')\n"
        "raise OSError('the broker is away')\n"
    )
    name = write_handler("broken", source)
    await serve(**service(name))
    assert imports_of_broken() == 1
    connection = await opened()
    for _ in range(20):
        assert await answer(connection, frame("broken")) == UNKNOWN_MODULE
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()
    assert imports_of_broken() == 1


def imports_of_broken() -> int:
    log = Path(sys.modules["written_handlers"].__path__[0], "broken.log")
    return len(log.read_text().splitlines())


async def test_a_corrected_service_is_offered_without_a_change_of_the_row(
    serve: Serve, write_handler: WriteHandler
) -> None:
    name = write_handler("broken", "raise OSError('the broker is away')")
    serving = await serve(**service(name))
    connection = await opened()
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    assert await answer(connection, frame("broken")) == UNKNOWN_MODULE
    report = await aeventually(LoadError.objects.afirst)
    assert f"{name!r} can't be imported: OSError: the broker is away" == report.problem
    write_handler("broken", "def handle(params):\n    return 'mended'\n# longer than before\n")
    await aeventually(lambda: is_answered(connection, frame("broken"), "mended"))
    connection.leave()
    await connection.ended()
    assert [detail for detail in await errors(serving) if "broker" in detail] == []


async def is_answered(connection: Connection, message: str, expected: str) -> bool:
    return bool(await answer(connection, message) == expected)


async def test_requests_for_unknown_modules_are_counted_and_recorded_without_tracebacks(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await opened()
    for number in range(50):
        assert await answer(connection, frame(f"nope{number}\nforged")) == UNKNOWN_MODULE
    connection.leave()
    await connection.ended()
    serving.node.recorder.tell_repeats()
    assert await serving.node.recorder.flush()
    events = [event async for event in Event.objects.filter(kind="error").order_by("pk")]
    unknown = "on_message: the endpoint doesn't offer the service nope"
    assert [event.detail for event in events[:FIRST]] == [
        f"{unknown}{number}\\nforged" for number in range(FIRST)
    ]
    (repeated,) = events[FIRST:]
    assert (repeated.repeats, repeated.detail) == (50 - FIRST, f"{unknown}{FIRST}\\nforged")
    assert len([record for record in caplog.records if "nope" in record.getMessage()]) == FIRST + 1


@pytest.mark.parametrize(
    "spelling",
    [CHAT, "chat/chat_service.js", "chat/chat-service.py", "chat.chat_service",
     "handlers.chat.chat_service", "/handlers/chat/chat-service", " chat.chat_service "],
)  # fmt: skip
async def test_each_spelling_of_a_module_calls_it(serving: Serving, spelling: str) -> None:
    connection = await opened()
    assert await answer(connection, frame(spelling, type="list")) == "[]"
    connection.leave()
    await connection.ended()


async def test_a_service_that_is_offered_or_withdrawn_is_so_for_open_sessions(
    serve: Serve, write_handler: WriteHandler
) -> None:
    name = write_handler("late", "def handle(params):\n    return 'here'")
    serving = await serve(**service())
    connection = await opened()
    assert await answer(connection, frame("late")) == UNKNOWN_MODULE
    row = await Endpoint.objects.aget()
    for services, expected in (([name], "here"), ([], UNKNOWN_MODULE)):
        row.services = services
        await row.asave()
        serving.node.hurry("descriptors")
        await aeventually(partial(is_answered, connection, frame("late"), expected))
    connection.leave()
    await connection.ended()


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
    (fields,) = service().values()
    await serve(service=fields)
    connection = await opened("service")
    assert await answer(connection, frame(CHAT, type="list")) == "[]"
    connection.leave()
    await connection.ended()


async def test_an_engine_of_the_sites_own_is_asked_for_its_service(
    serve: Serve, settings: Any, write_handler: WriteHandler
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
    await serve(**service("Shout:HEY"))
    connection = await opened("/service/shout")
    assert await answer(connection, frame("HEY")) == "HEY!"
    assert await answer(connection, frame(CHAT, type="list")) == UNKNOWN_MODULE
    connection.leave()
    await connection.ended()


def test_the_app_brings_no_endpoint_of_its_own(db: None) -> None:
    assert not Endpoint.objects.exists()
