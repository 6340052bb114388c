"""`manage.py websocket_clients`, where its output goes."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from tests.infrastructure.processes import Process
from tests.infrastructure.site import REPOSITORY, Site
from tests.infrastructure.waiting import eventually
from websockets_app.management import screens
from websockets_app.management.screens import CLEAR
from websockets_app.models import Client
from websockets_app.outbound import report

NO_RUNNER = "No runner is alive: start manage.py run_websocket_clients."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def feed(db: None) -> Client:
    return Client.objects.create(name="feed", uri="wss://example.com/", handler="handlers.printer")


@pytest.fixture
def refreshes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let somebody press Ctrl-C after so many refreshes, which take no time."""

    def press_after(times: int) -> None:
        left = iter(range(times - 1))

        def sleep(seconds: float) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        monkeypatch.setattr(screens, "time", SimpleNamespace(sleep=sleep))

    return press_after


def run(*arguments: str, out: io.StringIO | None = None) -> tuple[str, str]:
    out, err = out or io.StringIO(), io.StringIO()
    call_command("websocket_clients", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_it_prints_a_table_in_the_width_of_the_terminal(
    feed: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    heading, line, warning = run()[0].splitlines()
    assert heading.startswith("NAME")
    assert line.startswith("feed")
    assert warning == NO_RUNNER


@pytest.mark.django_db
def test_where_there_are_no_clients_it_says_so() -> None:
    assert run() == ("There are no clients.\n", "")


@pytest.mark.usefixtures("feed")
def test_a_name_that_no_client_has_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"No client fed\. There are: feed\."):
        run("fed", "feed")


@pytest.mark.usefixtures("feed")
def test_a_program_gets_json_and_the_warning_apart() -> None:
    out, err = run("--json")
    assert [client["name"] for client in json.loads(out)] == ["feed"]
    assert err == f"{NO_RUNNER}\n"


@pytest.mark.usefixtures("feed")
def test_a_program_that_watches_gets_a_document_a_line(
    refreshes: Callable[[int], None],
) -> None:
    refreshes(3)
    lines = run("--json", "--watch")[0].splitlines()
    assert [json.loads(line)[0]["name"] for line in lines] == ["feed"] * 3


@pytest.mark.usefixtures("feed")
def test_watching_draws_anew_and_clears_only_a_terminal(
    refreshes: Callable[[int], None],
) -> None:
    refreshes(2)
    out = run("--watch", "0.5")[0]
    assert CLEAR not in out
    assert out.count("every 0.5 s; Ctrl-C ends\nNAME") == 2
    refreshes(2)
    assert run("--watch", "0.5", "feed", out=Terminal())[0].count(CLEAR) == 2


@pytest.mark.usefixtures("feed")
def test_a_database_that_goes_away_is_told_and_watching_goes_on(
    refreshes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([OperationalError("server closed\nthe connection"), report.look()])

    def look(names: list[str]) -> report.Report:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    dropped = []
    monkeypatch.setattr(report, "look", look)
    monkeypatch.setattr(screens, "drop_broken_connections", lambda: dropped.append(True))
    refreshes(2)
    _, trouble, _, heading, *_ = run("--watch")[0].splitlines()
    assert trouble == "The database doesn't answer: server closed the connection"
    assert heading.startswith("NAME")
    assert dropped


@pytest.mark.django_db
def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(names: list[str]) -> report.Report:
        raise OperationalError("no such host")

    monkeypatch.setattr(report, "look", look)
    with pytest.raises(CommandError, match=r"^The database doesn't answer: no such host$"):
        run()


@pytest.mark.parametrize("seconds", ["feed", "0", "-1", "nan", "inf"])
def test_seconds_have_to_be_seconds(seconds: str) -> None:
    with pytest.raises(CommandError, match="is no number of seconds"):
        run(f"--watch={seconds}")


def test_watching_ends_at_ctrl_c_with_status_0(site: Site) -> None:
    command = [sys.executable, str(REPOSITORY / "manage.py"), "websocket_clients", "--watch=0.1"]
    log = site.directory / "watch.log"
    watching = Process("watch", command, log, site.env(), site.directory)
    site.processes.append(watching)
    eventually(lambda: watching.output.count("There are no clients.") > 1, timeout=10)
    assert watching.kill(signal.SIGINT) == 0
    assert "Traceback" not in watching.output
