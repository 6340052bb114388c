"""The seed's server example, from a real browser: the handler as its documentation has it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import eventually

# The seed's handler, in Python.
WS_HANDLER = """
def on_open():
    print("Connection opened.")

def on_message(message):
    print("Message received: " + message)

def on_error(error):
    print("Error: " + error)

def on_close():
    print("Connection closed.")
"""


def test_the_seeds_endpoint_hears_what_a_browser_sends(site: Site, page: Page) -> None:
    site.write_handler("ws_handler", WS_HANDLER)
    site.shell(
        "from websockets_app.dispatch.loader import resolve\n"
        "Endpoint.objects.create(endpoint='my-endpoint', description='My Websocket',"
        " handler=resolve('python', 'ws-handler'), access='public')"
    )
    server = site.start_daphne()
    page.goto(server.http("/"))
    page.evaluate(
        """(url) => new Promise((resolve, reject) => {
            window.ws = new WebSocket(url);
            window.ws.onopen = () => { window.ws.send('hello'); resolve(); };
            window.ws.onerror = reject;
        })""",
        server.ws("my-endpoint"),
    )
    server.wait_for_output("Connection opened.")
    server.wait_for_output("Message received: hello")
    page.evaluate("() => window.ws.close(1000, 'done')")
    server.wait_for_output("Connection closed.")
    (row,) = eventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (row["close_code"], row["close_cause"]) == (1000, "peer")
    assert row["origin"] == server.http("")


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
