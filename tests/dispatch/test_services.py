"""The services of an endpoint: how they are written, stored and found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client as Browser
from pytest_django import Settings

from tests.admin.pages import errors, form_data, told, url
from tests.inbound.conftest import WriteHandler
from websockets_app.checks.rows import check_rows
from websockets_app.descriptors.sync import sync
from websockets_app.dispatch.services import load_services, resolve_services
from websockets_app.exceptions import HandlerNotAllowed, HandlerNotFound, UnknownEngine
from websockets_app.models import Endpoint
from websockets_app.testing import Conversation

CHAT = "handlers.chat.chat_service"
HANDLER = "websockets_app.websocket_handlers"
SERVICE = "def handle(params):\n    return 'called'\n"


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("/chat/chat_service.js", [CHAT]),
        ("chat/chat-service", [CHAT]),
        (CHAT, [CHAT]),
        (" chat.chat_service ", [CHAT]),
        ("python:chat.chat_service", [CHAT]),
        ("chat.*", ["handlers.chat.*"]),
        ("/chat/*", ["handlers.chat.*"]),
        ("handlers.*", ["handlers.*"]),
    ],
)
def test_each_spelling_is_stored_as_one(written: str, stored: list[str]) -> None:
    assert resolve_services([written]) == stored
    assert resolve_services(stored) == stored


def test_services_that_are_listed_twice_are_stored_once() -> None:
    assert resolve_services(["chat.chat_service", CHAT, "chat.*"]) == [CHAT, "handlers.chat.*"]


@pytest.mark.parametrize(
    ("written", "error", "said"),
    [
        ("*", HandlerNotAllowed, "no public module name"),
        ("", HandlerNotAllowed, "no public module name"),
        ("../secrets", HandlerNotAllowed, "no public module name"),
        ("chat.**", HandlerNotAllowed, "no public module name"),
        ("os.*", HandlerNotFound, "looked for handlers.os"),
        ("chat.chat_servise", HandlerNotFound, "Did you mean handlers.chat.chat_service"),
        ("lua:chat", UnknownEngine, "No engine 'lua'"),
    ],
)
def test_what_cannot_be_offered_is_refused(written: str, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        resolve_services([written])


def test_a_package_offers_the_services_below_it_and_nothing_else(
    write_handler: WriteHandler, tmp_path: Path
) -> None:
    (tmp_path / "written_handlers" / "shop").mkdir()
    for name in ("shop/__init__", "shop/orders", "shop/_private", "shopping"):
        write_handler(name, SERVICE)
    write_handler("shop/helper", "def handle(session):\n    return 'called'")
    write_handler("shop/nothing", "")
    offered, problem = load_services(["written_handlers.shop.*"])
    assert problem == ""
    assert {name for _engine, name in offered} == {
        "written_handlers.shop.orders", "shop.orders",
    }  # fmt: skip


def test_what_a_service_lacks_is_said_and_the_others_are_offered(
    write_handler: WriteHandler,
) -> None:
    write_handler("broken", "1 / 0")
    write_handler("greedy", "def handle(params, password): pass")
    write_handler("helper", "def handle(session): pass")
    names = [f"written_handlers.{name}" for name in ("broken", "greedy", "helper", "gone")]
    offered, problem = load_services([*names, "os.path", CHAT])
    assert {name for _engine, name in offered} == {CHAT, "chat.chat_service"}
    for said in (
        "'written_handlers.broken' can't be imported: ZeroDivisionError",
        "asks for 'password'",
        "its handle doesn't ask for params",
        "No module 'written_handlers.gone'",
        "'os.path' may not be imported",
    ):
        assert said in problem


def test_a_package_without_modules_is_a_problem_and_many_problems_are_counted() -> None:
    assert load_services(["handlers.echo.*"]) == (
        {}, "'handlers.echo.*' offers nothing: there is no module below it.",
    )  # fmt: skip
    _, problem = load_services([f"handlers.gone{number}" for number in range(9)])
    assert problem.endswith("No module 'handlers.gone4'. And 4 more.")


def test_the_first_package_wins_where_two_have_a_service_of_one_name(
    write_handler: WriteHandler, settings: Settings
) -> None:
    other = write_handler("chat_service", SERVICE)
    packages = ["written_handlers", "handlers.chat", "handlers"]
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HANDLER_PACKAGES": packages}
    offered, _ = load_services([CHAT, other])
    assert offered["python", "chat_service"] is offered["python", other]
    assert offered["python", "chat.chat_service"] is offered["python", CHAT]


def test_a_conversation_offers_services() -> None:
    with Conversation(HANDLER, services=["chat.chat_service"]) as peer:
        peer.send_json({"module": "chat.chat_service", "params": {"type": "dance"}})
        peer.send_json({"module": "chat.nope"})
        assert peer.receive() == "Unknown module in the request"


# Rows


def row(**fields: Any) -> Endpoint:
    return Endpoint(**{"endpoint": "service", "handler": HANDLER, **fields})


@pytest.mark.django_db
def test_the_form_stores_services_resolved_and_says_what_it_refuses(admin_client: Browser) -> None:
    def submit(services: str) -> Any:
        data = form_data(admin_client.get(url(Endpoint, "add")))
        data |= {"endpoint": "service", "handler": HANDLER, "services": services}
        return admin_client.post(url(Endpoint, "add"), data)

    for services, said in (
        ('["chat.nope"]', "No handler 'chat.nope'"),
        ('["_x"]', "no public module name"),
        ("[1]", "Write a JSON list of strings."),
        ('"chat"', "Write a JSON list of strings."),
    ):
        (error,) = errors(submit(services))["services"]
        assert said in error
    submit('["/chat/chat_service.js", "chat.*"]')
    assert Endpoint.objects.get().services == [CHAT, "handlers.chat.*"]


@pytest.mark.django_db
def test_a_service_that_cannot_be_loaded_is_saved_with_a_warning_and_shown(
    admin_client: Browser, write_handler: WriteHandler
) -> None:
    name = write_handler("broken", "1 / 0")
    data = form_data(admin_client.get(url(Endpoint, "add")))
    data |= {"endpoint": "service", "handler": HANDLER, "services": json.dumps([name])}
    response = admin_client.post(url(Endpoint, "add"), data)
    assert any("can't offer all services" in text for text in told(response))
    assert "ZeroDivisionError" in admin_client.get(url(Endpoint, "changelist")).content.decode()


@pytest.mark.django_db
def test_a_check_warns_of_services_that_are_missing(write_handler: WriteHandler) -> None:
    fine = row(services=[CHAT])
    fine.save()
    assert check_rows(databases=["default"]) == []
    for number, (fields, said) in enumerate(
        (
            ({"services": [write_handler("broken", "1 / 0")]}, ("W047", "ZeroDivisionError")),
            ({"services": []}, ("W048", "offers no services")),
            ({"services": "chat"}, ("W040", "Its services are no JSON list")),
            ({"services": [1]}, ("W046", "services: Write a JSON list of strings")),
        )
    ):
        bad = row(endpoint=f"service{number}", **fields)
        bad.save()
        (message,) = check_rows(databases=["default"])
        assert (message.id, message.obj) == (f"websockets_app.{said[0]}", bad)
        assert said[1] in message.msg
        bad.delete()


@pytest.mark.django_db
def test_a_file_says_which_services_its_row_offers(tmp_path: Path) -> None:
    file = tmp_path / "service.websocket"
    keys = {"endpoint": "service", "handler": HANDLER, "services": ["/chat/chat_service.js"]}
    file.write_text(json.dumps(keys))
    sync([tmp_path])
    assert Endpoint.objects.get().services == [CHAT]
    file.write_text(json.dumps({**keys, "services": ["chat.nope"]}))
    [bad] = sync([tmp_path]).bad
    assert bad.text.startswith("services: No handler 'chat.nope'")
