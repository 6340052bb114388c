"""The seed's server example, from a real browser, as the documentation has it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.conftest import Demo
from tests.infrastructure.documents import FENCE, blocks
from tests.infrastructure.processes import Server
from tests.infrastructure.site import REPOSITORY, Site
from tests.infrastructure.waiting import eventually

PAGE = "docs/how-to/port-from-dirigible.md"


def test_the_seeds_endpoint_hears_what_a_browser_sends(site: Site, page: Page) -> None:
    _, handler = [block for block in blocks(PAGE, "The client") if block.language == "python"]
    descriptor, _, script = blocks(PAGE, "The server")
    folder = site.directory / "site_handlers" / "my_project"
    folder.mkdir()
    (folder / "ws_handler.py").write_text(handler.text)
    (folder / "my-endpoint.websocket").write_text(descriptor.text)
    assert "endpoint my-endpoint" in site.manage("sync_websockets").stdout
    site.create_admin()
    server = site.start_daphne()
    log_in(page, server)
    text = script.text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    page.evaluate(f"() => {{ {text} window.ws = ws; }}")
    server.wait_for_output("Connection opened.")
    server.wait_for_output("Message received: hello")
    page.evaluate("() => window.ws.close(1000, 'done')")
    server.wait_for_output("Connection closed.")
    (row,) = eventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (1000, "peer")
    assert row["origin"] == server.http("")


def log_in(page: Page, server: Server) -> None:
    page.goto(server.http("/admin/"))
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    page.goto(server.http("/"))


def test_a_page_of_a_foreign_origin_is_refused(make_site: Callable[..., Site], page: Page) -> None:
    site, foreign = make_site(), make_site()
    site.shell("Endpoint.objects.create(endpoint='e', handler='handlers.echo', access='public')")
    server, other = site.start_daphne(), foreign.start_daphne()
    page.goto(other.http("/admin/login/"))  # a page whose own policy lets it try
    code = page.evaluate(
        """(url) => new Promise((resolve) => {
            const ws = new WebSocket(url);
            ws.onclose = (event) => resolve(event.code);
        })""",
        server.ws("e"),
    )
    assert code == 1006
    (row,) = eventually(
        lambda: site.rows("SELECT * FROM websockets_app_event WHERE kind = 'refused'")
    )
    assert other.http("") in row["detail"]


# The seed's 2.x example, with its clients' lines as they stand there.
CHAT = """
async (url) => {
    const heard = {Tom: [], Jerry: []};
    const opened = (name) => new Promise((resolve, reject) => {
        const jsSocket = new WebSocket(url);
        jsSocket.onmessage = (event) => heard[name].push(event.data);
        jsSocket.onerror = reject;
        jsSocket.onopen = () => resolve(jsSocket);
    });
    const until = async (name, count) => {
        while (heard[name].length < count) await new Promise(requestAnimationFrame);
    };
    var jsSocket = await opened("Tom");
    const client1 = jsSocket;
    jsSocket.send('{"module": "/chat/chat_service.js","params": {"type":"welcome", "from":"Tom"}}');
    await until("Tom", 1);
    jsSocket = await opened("Jerry");
    jsSocket.send('{"module": "/chat/chat_service.js","params": {"type":"welcome", "from":"Jerry"}}');
    await until("Jerry", 1);
    client1.send('{"module": "/chat/chat_service.js","params": {"type":"message", "from":"Tom", "to":"Jerry", "message": "Hello Jerry!"}}');
    await until("Jerry", 2);
    jsSocket.send('{"module": "/chat/chat_service.js","params": {"type":"message", "from":"Jerry", "to":"Tom", "message": "Hi Tom!"}}');
    jsSocket.send('{"module": "/chat/chat_service.js","params": {"type":"list", "from":"Tom"}}');
    await until("Jerry", 3);
    await until("Tom", 2);
    client1.close();
    jsSocket.close();
    return heard;
}
"""  # noqa: E501


@pytest.mark.xdist_group("demo")
def test_the_seeds_chat_works_between_two_sockets_of_a_browser(demo: Demo, page: Page) -> None:
    page.goto(demo.server.http("/"))
    heard = page.evaluate(CHAT, demo.server.ws("/service/js"))
    assert heard == {
        "Tom": ["Welcome Tom!", "Hi Tom!"],
        "Jerry": ["Welcome Jerry!", "Hello Jerry!", '["Tom","Jerry"]'],
    }


@pytest.mark.xdist_group("demo")
def test_the_lines_of_the_documentation_work_in_the_console_of_the_demos_page(
    demo: Demo, page: Page
) -> None:
    text = (REPOSITORY / "docs/how-to/chat-2x.md").read_text(encoding="utf-8")
    come, talk = [code for _, language, code in FENCE.findall(text) if language == "javascript"]
    page.goto(demo.server.http("/"))
    with page.expect_console_message() as welcome:
        page.evaluate(f"{come}; 0")  # a function as the result would be called
    assert welcome.value.text == "Welcome Tom!"
    with page.expect_console_message() as listed:
        page.evaluate(talk)
    assert "Tom" in json.loads(listed.value.text)
