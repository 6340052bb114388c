"""The seed's chat between two browsers whose sockets are at different processes of a site."""

from __future__ import annotations

import json
from collections.abc import Callable

from playwright.sync_api import Browser, Page

from tests.infrastructure.browser import open_page
from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import eventually

OPEN = """
(url) => new Promise((resolve, reject) => {
    window.heard = [];
    window.jsSocket = new WebSocket(url);
    window.jsSocket.onmessage = (event) => window.heard.push(event.data);
    window.jsSocket.onerror = reject;
    window.jsSocket.onopen = resolve;
})
"""
SEEN = "SELECT 1 FROM websockets_app_session s JOIN websockets_app_node n ON n.id = s.node_id"


def test_tom_and_jerry_chat_from_two_browsers_at_two_processes(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str, browser: Browser
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url)
    site.shell(
        "Endpoint.objects.create(endpoint='/service/<str:type>', access='public',"
        " handler='websockets_app.websocket_handlers', services=['handlers.chat.*'])"
    )
    servers = site.start_daphne(), site.start_daphne()
    with open_page(browser) as tom, open_page(browser) as jerry:
        for page, server in zip((tom, jerry), servers, strict=True):
            enter(page, server)
        eventually(lambda: len(site.rows(f"{SEEN} WHERE n.channel <> ''")) == 2)
        say(tom, type="welcome", sender="Tom")
        hears(tom, "Welcome Tom!")
        say(jerry, type="welcome", sender="Jerry")
        hears(jerry, "Welcome Jerry!")
        say(tom, type="message", sender="Tom", to="Jerry", message="Hello Jerry!")
        hears(jerry, "Hello Jerry!")
        say(jerry, type="message", sender="Jerry", to="Tom", message="Hi Tom!")
        hears(tom, "Hi Tom!")
        for page in (tom, jerry):
            say(page, type="list", sender="Tom")
            hears(page, '["Tom","Jerry"]')


def enter(page: Page, server: Server) -> None:
    page.goto(server.http("/admin/login/"))
    page.evaluate(OPEN, server.ws("/service/js"))


def say(page: Page, *, sender: str, **params: str) -> None:
    frame = {"module": "/chat/chat_service.js", "params": {"from": sender, **params}}
    page.evaluate("(text) => window.jsSocket.send(text)", json.dumps(frame))


def hears(page: Page, text: str) -> None:
    page.wait_for_function("(text) => window.heard.at(-1) === text", arg=text)
