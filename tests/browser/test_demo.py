"""The demo page: a visitor opens endpoints and talks to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from tests.conftest import Demo
from tests.infrastructure.waiting import eventually

pytestmark = pytest.mark.xdist_group("demo")

REFUSED = "Error during WebSocket handshake"
"""What Chromium itself says of an endpoint that was added too short a while ago."""


@pytest.fixture
def visited(page: Page, demo: Demo) -> Iterator[Page]:
    """The page; nothing on it may complain, about the content security policy for example."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        is_ours = "/admin/" not in page.url and REFUSED not in message.text
        if message.type in {"error", "warning"} and is_ours:
            complaints.append(message.text)

    page.on("console", listen)
    page.goto(demo.server.http())
    yield page
    assert not complaints


class Panel:
    """One of the page's panels, as a person uses it."""

    def __init__(self, page: Page, side: str) -> None:
        self.root: Locator = page.get_by_role("region", name=f"{side} panel")
        self.log: Locator = self.root.get_by_role("log")

    def open(self, endpoint: str, **params: str) -> None:
        self.root.get_by_label("Endpoint").select_option(label=endpoint)
        for name, value in params.items():
            self.root.get_by_label(name, exact=True).fill(value)
        eventually(self._is_opened)

    def _is_opened(self) -> bool:
        """Try to open: an endpoint may have been added too short a while ago to be served."""
        self.root.get_by_role("button", name="Open").click()
        status = self.root.get_by_role("status")
        expect(status).not_to_have_text("connecting")
        return status.text_content() == "open"

    def close(self) -> None:
        self.root.get_by_role("button", name="Close").click()

    def send(self, message: str, *, as_: str = "Text") -> None:
        self.root.get_by_label(as_, exact=True).check()
        self.root.get_by_label("Message").fill(message)
        self.root.get_by_role("button", name="Send").click()

    def send_file(self, path: Path) -> None:
        self.root.get_by_label("File, as binary").check()
        self.root.get_by_label("File", exact=True).set_input_files(path)
        self.root.get_by_role("button", name="Send").click()

    def has_state(self, state: str) -> None:
        expect(self.root.get_by_role("status")).to_have_text(state)

    def received(self, text: str) -> None:
        expect(self.log.locator("li.in").filter(has_text=text)).not_to_have_count(0)

    def says(self, text: str) -> None:
        expect(self.log).to_contain_text(text)


@pytest.fixture
def left(visited: Page) -> Panel:
    return Panel(visited, "Left")


@pytest.fixture
def right(visited: Page) -> Panel:
    return Panel(visited, "Right")


def test_echo_answers_text_json_and_a_file(left: Panel, tmp_path: Path) -> None:
    left.open("echo")
    left.send("grüße <b>dich</b>")
    left.received("grüße <b>dich</b>")
    left.send('{"a": 1}', as_="JSON")
    left.received('{"a": 1}')
    path = tmp_path / "three.bin"
    path.write_bytes(b"\x00\x7f\xff")
    left.send_file(path)
    left.received("binary, 3 bytes")
    left.received("00 7f ff")


def test_what_is_no_json_is_not_sent(left: Panel) -> None:
    left.open("echo")
    left.send('{"a":', as_="JSON")
    expect(left.root.get_by_role("alert")).to_contain_text("This is no JSON")
    expect(left.log.locator("li.out")).to_have_count(0)
    left.send('{"a": 1}', as_="JSON")
    left.received('{"a": 1}')


def test_two_panels_meet_in_a_room(left: Panel, right: Panel) -> None:
    left.open("room/<slug:room>", room="kitchen")
    right.open("room/<slug:room>", room="kitchen")
    left.received("joined")
    right.send("Hello Jerry!")
    left.received("Hello Jerry!")
    right.close()
    left.received("left")


def test_the_ticker_arrives_until_it_is_closed(left: Panel) -> None:
    left.open("ticker")
    left.received('"time":')
    left.close()
    left.has_state("closed")
    left.says("closed with 1000")


def test_the_code_of_a_close_by_the_server_is_shown(
    demo: Demo, visited: Page, left: Panel
) -> None:
    demo.site.shell(
        "Endpoint.objects.create(endpoint='brief', handler='handlers.echo', access='public')"
    )
    visited.reload()
    left.open("brief")
    demo.site.shell("Endpoint.objects.get(endpoint='brief').delete()")
    # Daphne sends 4001 for 1001.
    left.says("closed with 4001: the endpoint or the server went away")


def test_a_path_parameter_is_asked_for(left: Panel) -> None:
    left.root.get_by_label("Endpoint").select_option(label="room/<slug:room>")
    left.root.get_by_role("button", name="Open").click()
    left.has_state("closed")
    left.root.get_by_label("room", exact=True).fill("kitchen")
    expect(left.root).to_contain_text("/websockets/v4/service/room/kitchen")


def test_visitors_are_offered_what_they_may_enter(demo: Demo, visited: Page, left: Panel) -> None:
    demo.site.create_admin()
    demo.site.shell(
        "for access in ('authenticated', 'staff'):\n"
        "    Endpoint.objects.create(endpoint=access, handler='handlers.echo', access=access)\n"
        "Endpoint.objects.create(endpoint='off', handler='handlers.echo', enabled=False)"
    )

    def offered() -> set[str]:
        return set(left.root.get_by_label("Endpoint").locator("option").all_text_contents())

    visited.reload()
    assert {"echo", "room/<slug:room>", "ticker"} <= offered()
    assert not {"authenticated", "staff", "off"} & offered()
    visited.goto(demo.server.http("/admin/"))
    visited.get_by_label("Username").fill("admin")
    visited.get_by_label("Password").fill("admin")
    visited.get_by_role("button", name="Log in").click()
    visited.wait_for_url(demo.server.http("/admin/"))
    visited.goto(demo.server.http())
    assert {"echo", "authenticated", "staff"} <= offered()
    assert "off" not in offered()
    left.open("staff")
    left.send("here I am")
    left.received("here I am")
