"""The servers, processes and the browser that the tests stand on are real and work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from playwright.sync_api import Page

from tests.infrastructure.browser import chromium_or_skip
from tests.infrastructure.documents import Written
from tests.infrastructure.npm import npm_package_or_skip
from tests.infrastructure.ports import free_port, is_listening
from tests.infrastructure.processes import Server
from tests.infrastructure.waiting import aeventually, eventually


def test_valkey_answers(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        assert client.ping()


def test_postgres_answers(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_test_may_have_a_postgres_database_of_its_own(
    postgres_url: str, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    assert row[0].startswith("test_")
    assert postgres_database != postgres_url


def test_the_browser_opens_a_page(page: Page) -> None:
    page.goto("data:text/html,<title>it works</title>")
    assert page.title() == "it works"


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_a_browser_its_tests_are_skipped_or_in_ci_fail_and_say_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install chromium"):
        chromium_or_skip()


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_npm_its_tests_are_skipped_or_in_ci_fail_and_say_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install nodejs npm"):
        npm_package_or_skip("ws")


async def test_an_asynchronous_test_can_follow_one_with_a_browser() -> None:
    attempts = iter([False, False, True])

    async def third_time() -> bool:
        return next(attempts)

    assert await aeventually(third_time)


def test_eventually_says_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match="at last 0"):
        eventually(lambda: 0, timeout=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    started = Server("http", command, tmp_path / "http.log", {}, tmp_path, port)
    yield started
    started.end()


def test_a_server_is_awaited_and_killed(server: Server) -> None:
    server.wait_until_ready()
    assert server.kill(signal.SIGKILL) == -signal.SIGKILL
    assert not is_listening(server.port)


def test_a_server_that_does_not_start_is_reported_with_its_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no port for me')"]
    failed = Server("broken", command, tmp_path / "broken.log", {}, tmp_path, free_port())
    with pytest.raises(RuntimeError, match="no port for me"):
        failed.wait_until_ready()


def test_a_page_that_has_no_place_for_a_part_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n")
    with pytest.raises(AssertionError, match=r"written by python -m tests\.one"):
        Written(page=page, program="tests.one").write("a line\n")
    assert page.read_text() == "# A page\n"
