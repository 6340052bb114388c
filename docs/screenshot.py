"""Make docs/_static/admin.png from the demo as it runs: `.venv/bin/python docs/screenshot.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Page
from websockets.sync.client import connect

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.infrastructure.browser import running_browser  # noqa: E402 - the path comes first
from tests.infrastructure.ports import free_port  # noqa: E402
from tests.infrastructure.processes import Server  # noqa: E402
from tests.infrastructure.site import Site  # noqa: E402
from tests.infrastructure.waiting import eventually  # noqa: E402

PICTURE = HERE / "_static" / "admin.png"
VISITORS = ("echo", "echo", "room/kitchen", "room/kitchen", "room/attic", "prices")
MORE_ROWS = """
    Endpoint.objects.create(endpoint="prices", handler="handlers.echo", access="public")
    Endpoint.objects.create(endpoint="orders/<int:order>", handler="handlers.orders")
    Endpoint.objects.create(endpoint="old-feed", handler="handlers.ticker", enabled=False)
"""


def main() -> None:
    """Run the demo in a directory that is thrown away, with visitors, and take its picture."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        site = Site(Path(directory))
        stack.callback(site.end)
        port = free_port()
        site.create_admin()
        os.environ["DEMO_SITE"] = f"127.0.0.1:{port}"
        site.manage("sync_websockets")
        site.shell(MORE_ROWS)
        server = site.start_daphne(port=port)
        site.start_runner()
        for endpoint in VISITORS:
            stack.enter_context(connect(server.ws(endpoint)))
        # The client of the demo listens to the ticker: one session more.
        eventually(lambda: len(open_sessions(site)) > len(VISITORS), timeout=10)
        browser = stack.enter_context(running_browser())
        page = browser.new_page(
            viewport={"width": 1240, "height": 720}, device_scale_factor=1.5, color_scheme="light"
        )
        log_in(page, server)
        page.goto(server.http("/admin/websockets_app/endpoint/"))
        page.locator("#toggle-nav-sidebar").dispatch_event("click")  # the rows need the room
        page.screenshot(path=PICTURE)


def open_sessions(site: Site) -> list[dict[str, object]]:
    """Return the sessions that the database knows to be open."""
    return site.rows("SELECT id FROM websockets_app_session WHERE closed_at IS NULL")


def log_in(page: Page, server: Server) -> None:
    """Log in as the administrator of the throw-away site."""
    page.goto(server.http("/admin/"))
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(server.http("/admin/"))


if __name__ == "__main__":
    main()
