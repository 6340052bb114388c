"""README.md's *Add it to your site*, followed to the letter on a new project in an empty venv."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.infrastructure.documents import blocks
from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import Process, Server
from tests.infrastructure.site import REPOSITORY
from tests.infrastructure.waiting import SCALE, eventually

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("add-to-your-site")]

STAYS_ON = re.compile(r"runserver|-m daphne|run_websocket_clients")


# A site that follows it


class NewSite:
    """A project that `startproject` made, whose owner reads the README."""

    def __init__(self, directory: Path, venv: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.processes: list[Process] = []
        self._venv = venv
        directory.mkdir()
        self.run("django-admin startproject mysite .")

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def follow(self, heading: str) -> None:
        """Write the files and run the commands of a part of the README, save what stays on."""
        for block in blocks("README.md", heading):
            if block.language == "console":
                for command in block.commands:
                    if not STAYS_ON.search(command):
                        self.run(command)
            elif block.language == "python":
                name, at_end = block.file
                self.write(name, block.text, at_end=at_end)

    def write(self, name: str, text: str, *, at_end: bool = False) -> None:
        path = self.directory / name
        before = path.read_text(encoding="utf-8") if at_end else ""
        path.write_text(before + text, encoding="utf-8")

    def run(self, command: str) -> None:
        done = subprocess.run(
            shlex.split(command),
            cwd=self.directory,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110 * SCALE,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"

    def start(self, heading: str, program: str) -> Server:
        """Start, on the site's port, what a part of the README starts."""
        [command] = [
            command.replace("8000", str(self.port))
            for block in blocks("README.md", heading)
            for command in block.commands
            if STAYS_ON.search(command) and program in command
        ]
        log = self.directory / f"{len(self.processes)}.log"
        words = [str(self._venv / "bin" / "python"), *shlex.split(command)[1:]]
        server = Server(program, words, log, self._env(), self.directory, self.port)
        self.processes.append(server)
        return server

    def end(self) -> None:
        for process in self.processes:
            process.end()
            print(f"--- {process.name}\n{process.output}")  # noqa: T201 - shown if the test fails

    def _env(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "PYTHON")) and name != "DATABASE_URL"
        }
        return inherited | {
            "PATH": f"{self._venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONSTRAINT": str(self._venv / "constraint.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "DJANGO_SUPERUSER_PASSWORD": "secret",
            "PYTHONUNBUFFERED": "1",
        }


class Operator:
    """Somebody in the admin, with a session cookie."""

    def __init__(self, site: NewSite) -> None:
        self.site = site
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def submit(self, path: str, **fields: str) -> str:
        """Fill a form of the admin in, leave the rest as it is, and send it."""
        form = FormFields()
        form.feed(self.get(path))
        data = urllib.parse.urlencode([*(form.fields | fields).items()]).encode()
        request = urllib.request.Request(self.site.base + path, data)  # noqa: S310 - http
        return self._read(request)

    def get(self, path: str) -> str:
        return self._read(urllib.request.Request(self.site.base + path))  # noqa: S310 - http

    def headers(self) -> dict[str, str]:
        """Return what a browser would send with the handshake."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        return {"Cookie": cookies}

    def _read(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=20 * SCALE) as response:
            return str(response.read().decode())


class FormFields(HTMLParser):
    """The fields of a form as they stand, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._textarea = self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        match tag:
            case "textarea":
                self._textarea, self.fields[name] = name, ""
            case "select":
                self._select = name
            case "option" if "selected" in given and self._select:
                self.fields[self._select] = value
            case "input" if name and not self._is_idle(given):
                self.fields[name] = value or "on"

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data.removeprefix("\r\n").removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
        elif tag == "select":
            self._select = ""

    @staticmethod
    def _is_idle(given: dict[str, str | None]) -> bool:
        if given.get("type") in {"checkbox", "radio"}:
            return "checked" not in given
        return given.get("type") in {"submit", "text", "search"} and not given.get("value")


# What the tests stand on


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment that gets this app, by its name, as a wheel just built."""
    directory = tmp_path_factory.mktemp("wheel")
    run = partial(subprocess.run, check=True, capture_output=True, cwd=REPOSITORY)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(directory), str(REPOSITORY)])
    [wheel] = directory.glob("*.whl")
    path = directory / "venv"
    run([sys.executable, "-m", "venv", str(path)])
    (path / "constraint.txt").write_text(f"django-websockets-app @ {wheel.as_uri()}\n")
    # startproject wants Django before the README has it installed.
    run([str(path / "bin" / "pip"), "--quiet", "install", "Django>=5.2,<6.2"])
    return path


def test_the_wheel_holds_all_that_the_app_is_made_of(venv: Path) -> None:
    [wheel] = venv.parent.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    app = REPOSITORY / "websockets_app"
    files = [path for path in app.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert packed == {str(path.relative_to(REPOSITORY)) for path in files}
    assert "websockets_app/py.typed" in packed


@pytest.fixture
def new_site(tmp_path: Path, venv: Path) -> Iterator[Callable[[], NewSite]]:
    sites: list[NewSite] = []

    def make() -> NewSite:
        sites.append(NewSite(tmp_path / "project", venv))
        return sites[-1]

    yield make
    for site in sites:
        site.end()


def add_endpoint_in_the_admin(site: NewSite, endpoint: str) -> Operator:
    operator = Operator(site)
    operator.submit("/admin/login/?next=/admin/", username="admin", password="secret")
    add = "/admin/websockets_app/endpoint/add/"
    answer = operator.submit(add, endpoint=endpoint, handler="handlers.echo")
    assert "was added successfully" in answer, answer
    return operator


def answers(operator: Operator, message: str | bytes, endpoint: str = "echo") -> bool:
    site = operator.site
    uri = f"ws://127.0.0.1:{site.port}/websockets/v4/service/{endpoint}"
    try:
        with connect(uri, origin=site.base, additional_headers=operator.headers()) as socket:
            socket.send(message)
            return socket.recv(timeout=5 * SCALE) == message
    except InvalidStatus:
        return False


def test_a_new_project_follows_the_readme(new_site: Callable[[], NewSite]) -> None:
    site = new_site()
    site.follow("Add it to your site")
    site.follow("SQLite")
    site.run("python manage.py check --database default --fail-level WARNING")
    site.run("python manage.py createsuperuser --noinput --username admin --email a@example.com")

    runserver = site.start("Add it to your site", "runserver")
    runserver.wait_until_ready()
    operator = add_endpoint_in_the_admin(site, "echo")
    eventually(lambda: answers(operator, "hello"))
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{site.port}/websockets/v4/service/echo", origin=site.base)
    runserver.end()

    daphne = site.start("In production", "daphne")
    daphne.wait_until_ready()
    assert answers(operator, bytes(1024 * 1024))
    assert daphne.kill(signal.SIGTERM) == 0

    runner = site.start("In production", "run_websocket_clients")
    runner.wait_for_output("unner")
    assert runner.kill(signal.SIGTERM) == 0


def test_so_does_one_with_its_own_ideas(new_site: Callable[[], NewSite]) -> None:
    """No time zones, users of its own with UUIDs, its own consumers, an endpoint in a file."""
    site = new_site()
    site.run("python manage.py startapp people")
    site.write("people/models.py", PEOPLE)
    site.write("mysite/consumers.py", CONSUMER)
    site.write("mysite/settings.py", OWN_IDEAS, at_end=True)
    site.run("python manage.py makemigrations people")
    site.follow("Add it to your site")
    [descriptor] = [
        block for block in blocks("README.md", "Add it to your site") if block.language == "json"
    ]
    site.write("handlers/echo.websocket", descriptor.text)
    site.run("python manage.py sync_websockets")
    site.follow("A ProtocolTypeRouter of your own")
    site.run("python manage.py createsuperuser --noinput --username admin --email a@example.com")

    daphne = site.start("In production", "daphne")
    daphne.wait_until_ready()
    operator = add_endpoint_in_the_admin(site, "another")
    for endpoint in ("echo", "another"):
        eventually(partial(answers, operator, "hello", endpoint))
    with connect(f"ws://127.0.0.1:{site.port}/news/", origin=site.base) as socket:
        assert socket.recv(timeout=5 * SCALE) == "news"

    def shows_echo(page: str) -> bool:
        return "echo" in operator.get(f"/admin/websockets_app/{page}/")

    for page in ("endpoint", "session", "event", "minute"):
        eventually(partial(shows_echo, page))
    for page in ("client", "node", "outboxmessage"):
        operator.get(f"/admin/websockets_app/{page}/")
    assert daphne.kill(signal.SIGTERM) == 0


OWN_IDEAS = """
USE_TZ = False
AUTH_USER_MODEL = "people.Person"
INSTALLED_APPS = [*INSTALLED_APPS, "people"]
"""

PEOPLE = """
import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
"""

CONSUMER = """
from channels.generic.websocket import WebsocketConsumer


class NewsConsumer(WebsocketConsumer):
    def connect(self):
        self.accept()
        self.send("news")
"""
