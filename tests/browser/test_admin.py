"""The admin in a real browser: what is saved there is live on real sockets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, eventually

OPEN = """url => {
    window.received = [];
    window.closeCode = null;
    window.socket = new WebSocket(url);
    window.socket.onmessage = event => window.received.push(event.data);
    window.socket.onclose = event => { window.closeCode = event.code; };
    return new Promise(resolve => {
        window.socket.onopen = () => resolve(true);
        window.socket.onerror = () => resolve(false);
    });
}"""

SHOUT = """
def on_message(message):
    return message.upper()
"""


class Admin:
    """The admin's pages, as an operator uses them."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server

    def log_in(self) -> None:
        self.page.goto(self.server.http("/admin/"))
        self.page.get_by_label("Username").fill("admin")
        self.page.get_by_label("Password").fill("admin")
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("link", name="Endpoints")).to_be_visible()

    def go(self, path: str) -> None:
        self.page.goto(self.server.http(f"/admin/websockets_app/{path}"))

    def choose_handler(self, name: str) -> None:
        """Choose one of those that the form offers."""
        field = self.page.get_by_label("Handler:")
        offered = self.page.locator(f"datalist#{field.get_attribute('list')} option")
        assert name in offered.evaluate_all("options => options.map(option => option.value)")
        field.fill(name)

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.tells("successfully")

    def tells(self, text: str) -> None:
        expect(self.page.locator(".messagelist")).to_contain_text(text)

    def act(self, action: str) -> None:
        """Run an action for all rows of the list."""
        self.page.locator("#action-toggle").check()
        self.page.get_by_label("Action:").select_option(label=action)
        self.page.get_by_role("button", name="Go").click()


class Talker:
    """A page of the same site with a WebSocket."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.url = server.ws("fresh")
        page.goto(server.http("/"))

    def opens_within(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds * SCALE
        while not self.page.evaluate(OPEN, self.url):
            assert time.monotonic() < deadline, f"refused for more than {seconds} s"

    def answer(self, message: str) -> str:
        self.page.evaluate("window.received.length = 0")
        self.page.evaluate("text => window.socket.send(text)", message)
        self.page.wait_for_function("() => window.received.length === 1")
        return str(self.page.evaluate("window.received[0]"))

    def close_code(self) -> int:
        self.page.wait_for_function("() => window.closeCode !== null")
        return int(self.page.evaluate("window.closeCode"))


@pytest.fixture
def admin(site: Site, page: Page) -> Admin:
    site.create_admin()
    site.write_handler("shout", SHOUT)
    opened = Admin(page, site.start_daphne())
    opened.log_in()
    return opened


@pytest.fixture
def talker(admin: Admin) -> Talker:
    """Somebody who is logged in, in another tab."""
    return Talker(admin.page.context.new_page(), admin.server)


def create_endpoint(admin: Admin) -> None:
    admin.go("endpoint/add/")
    admin.page.get_by_label("Endpoint:", exact=True).fill("fresh")
    admin.choose_handler("handlers.echo")
    admin.save()


def test_an_endpoint_lives_from_its_creation_to_its_deletion(
    site: Site, admin: Admin, talker: Talker
) -> None:
    create_endpoint(admin)
    talker.opens_within(1.0)
    assert talker.answer("Hello") == "Hello"

    eventually(lambda: site.rows("SELECT id FROM websockets_app_session"))
    admin.go("endpoint/")
    expect(admin.page.locator("td.field-sessions_open")).to_have_text("1")

    admin.page.get_by_role("link", name="fresh", exact=True).click()
    admin.choose_handler("site_handlers.shout")
    admin.save()
    eventually(lambda: talker.answer("Hello") == "HELLO", timeout=1.0)

    admin.go("endpoint/")
    admin.page.get_by_role("link", name="fresh", exact=True).click()
    admin.page.get_by_role("link", name="Delete", exact=True).click()
    admin.page.get_by_role("button", name="Yes, I’m sure").click()
    admin.tells("successfully")
    # Daphne sends no 1001: 3000 more goes out.
    assert talker.close_code() == 4001

    (session,) = eventually(lambda: closed_sessions(site))
    assert (session["close_code"], session["close_cause"]) == (1001, "config")
    admin.go("session/")
    expect(admin.page.locator("td.field-endpoint_path")).to_have_text("fresh")
    expect(admin.page.locator("td.field-code_and_cause")).to_contain_text("1001, the row changed")
    records = site.rows("SELECT action_flag FROM django_admin_log ORDER BY id")
    assert [record["action_flag"] for record in records] == [1, 2, 3]


def test_an_operator_writes_to_a_session_and_closes_it(
    site: Site, admin: Admin, talker: Talker
) -> None:
    create_endpoint(admin)
    talker.opens_within(1.0)
    eventually(lambda: site.rows("SELECT id FROM websockets_app_session"))

    admin.go("session/")
    admin.act("Send text to selected sessions")
    admin.page.get_by_label("Text").fill("Maintenance at noon")
    admin.page.get_by_role("button", name="Send").click()
    admin.tells("Sent to (1): fresh")
    talker.page.wait_for_function("() => window.received.includes('Maintenance at noon')")

    admin.page.locator("th.field-short_id a").click()
    expect(admin.page.locator(".websockets-events")).to_contain_text("open")
    admin.page.get_by_role("button", name="Close session").click()
    admin.tells("Closed (1): fresh")
    assert talker.close_code() == 1000
    (session,) = eventually(lambda: closed_sessions(site))
    assert (session["close_code"], session["close_cause"]) == (1000, "admin")
    (record,) = site.rows(
        "SELECT change_message FROM django_admin_log WHERE change_message LIKE 'Closed%'"
    )
    assert record["change_message"] == "Closed the session."


def test_a_handler_that_is_refused_or_broken_is_told_in_the_form(site: Site, admin: Admin) -> None:
    broken = site.write_handler("broken", "import nothing_like_it")
    admin.go("endpoint/add/")
    admin.page.get_by_label("Endpoint:", exact=True).fill("fresh")
    admin.page.get_by_label("Handler:").fill("os.path")
    admin.page.get_by_role("button", name="Save", exact=True).click()
    expect(admin.page.locator(".errorlist")).to_contain_text("No handler 'os.path'")
    admin.choose_handler(broken)
    admin.save()
    admin.tells("its handler can't be loaded")
    expect(admin.page.locator("td .websockets-problem")).to_contain_text("nothing_like_it")


def closed_sessions(site: Site) -> list[dict[str, Any]]:
    return site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
