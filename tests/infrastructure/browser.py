"""A real Chromium, driven by Playwright's synchronous API.

While a browser is open an event loop runs in the test's thread. So tests that use it are plain
functions, they don't touch the ORM of the test process (Django would refuse), and each has a
browser of its own: one kept open would keep the asynchronous tests after it from running.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.infrastructure.waiting import SCALE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW_TO_GET_ONE = (
    "No Chromium found: install one (Debian: apt-get install chromium), "
    "or name its executable in the environment variable CHROMIUM."
)


def find_chromium() -> str | None:
    """Return the path of Chromium: the one that ``CHROMIUM`` names, or one on the path."""
    names = (os.environ["CHROMIUM"],) if os.environ.get("CHROMIUM") else NAMES
    return next(filter(None, map(shutil.which, names)), None)


def chromium_or_skip() -> str:
    """Return the path of Chromium; without one skip the test, or fail it where ``CI`` is true."""
    executable = find_chromium()
    if executable is None and os.environ.get("CI") == "true":
        pytest.fail(HOW_TO_GET_ONE)
    if executable is None:
        pytest.skip(HOW_TO_GET_ONE)
    return executable


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a headless Chromium, or skip the test."""
    executable = chromium_or_skip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser) -> Iterator[Page]:
    """Open a page in a context of its own; fail afterwards where a script of it has raised."""
    errors: list[str] = []
    with browser.new_context() as context:
        context.set_default_timeout(10_000 * SCALE)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert not errors, f"scripts of the page raised: {errors}"
