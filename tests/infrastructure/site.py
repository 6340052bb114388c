"""The demo site as real processes: a server or several, runners, and commands beside them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.infrastructure import mariadb
from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import Process, Server
from tests.infrastructure.waiting import SCALE

REPOSITORY = Path(__file__).resolve().parents[2]
HANDLERS = "site_handlers"
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
APPLICATION = "wsproject.asgi:application"


class Site:
    """wsproject in a directory of its own, with handlers of its own beside the sample ones.

    Its database is SQLite in that directory, a copy of ``template`` where one is given, or that
    of ``database_url``. ``settings`` is Python that is appended to the settings of wsproject.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        settings: str = "",
        template: Path | None = None,
    ) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self.sqlite = directory / "db.sqlite3" if database_url is None else None
        self.database_url = database_url or f"sqlite:///{self.sqlite}"
        self._redis_url = redis_url
        directory.mkdir(parents=True, exist_ok=True)
        source = "from wsproject.settings import *\n" + textwrap.dedent(settings)
        (directory / "site_settings.py").write_text(source, encoding="utf-8")
        self.write_handler("__init__", "")
        if template is not None and self.sqlite is not None:
            shutil.copy(template, self.sqlite)
        else:
            self.manage("migrate", "--verbosity", "0")

    # Its contents

    def write_handler(self, name: str, source: str) -> str:
        """Write a handler module and return the reference to it."""
        path = self.directory / HANDLERS / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return f"{HANDLERS}.{name}"

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run SQL straight on the site's database, which is fast enough to poll."""
        if self.database_url.startswith("mysql:"):
            return mariadb.execute(self.database_url, sql)
        if self.sqlite is None:
            with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
                return connection.execute(sql.encode()).fetchall()
        with sqlite3.connect(self.sqlite, timeout=20) as opened:
            opened.row_factory = sqlite3.Row
            rows = [dict(row) for row in opened.execute(sql)]
        opened.close()
        return rows

    # Commands that end

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a management command; unless ``check`` is false, fail where it fails."""
        command = [sys.executable, str(REPOSITORY / "manage.py"), *arguments]
        done = subprocess.run(
            command,
            env=self.env(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * SCALE,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
        return done

    def shell(self, code: str) -> str:
        """Run code in the Django shell, the models imported, and return what it prints."""
        source = "from websockets_app.models import *\n" + textwrap.dedent(code)
        return self.manage("shell", "--no-imports", "--verbosity", "0", "-c", source).stdout

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the Django shell, brought over as JSON."""
        return json.loads(self.shell(f"import json; print(json.dumps({expression}, default=str))"))

    def create_admin(self, username: str = "admin", password: str = "admin") -> None:
        """Create a superuser."""
        self.shell(
            "from django.contrib.auth import get_user_model\n"
            f"get_user_model().objects.create_superuser({username!r}, '', {password!r})"
        )

    # Processes that stay

    def start_daphne(
        self, *options: str, port: int | None = None, application: str = APPLICATION
    ) -> Server:
        """Start Daphne as the README advises, and wait until it accepts connections."""
        port = port or free_port()
        limit = str(MAX_MESSAGE_SIZE)
        return self._start_server(
            "daphne",
            [
                *("daphne", "-b", "127.0.0.1", "-p", str(port), "--websocket_timeout", "-1"),
                *("--websocket-max-message-size", limit, "--websocket-max-frame-size", limit),
                *(*options, application),
            ],
            port,
        )

    def start_uvicorn(
        self, *options: str, port: int | None = None, application: str = APPLICATION
    ) -> Server:
        """Start Uvicorn as the benchmarks do, and wait until it accepts connections."""
        port = port or free_port()
        return self._start_server(
            "uvicorn",
            [
                *("uvicorn", "--host", "127.0.0.1", "--port", str(port)),
                *("--loop", "uvloop", "--ws", "websockets-sansio", *options, application),
            ],
            port,
        )

    def start_hypercorn(
        self, *options: str, port: int | None = None, application: str = APPLICATION
    ) -> Server:
        """Start Hypercorn as the documentation advises, and wait until it accepts connections."""
        port = port or free_port()
        return self._start_server(
            "hypercorn",
            [
                *("hypercorn", "--bind", f"127.0.0.1:{port}", "--workers", "0"),
                *("--graceful-timeout", "1", *options, application),
            ],
            port,
        )

    def start_granian(
        self, *options: str, port: int | None = None, application: str = APPLICATION
    ) -> Server:
        """Start Granian as the documentation advises, and wait until it accepts connections."""
        port = port or free_port()
        return self._start_server(
            "granian",
            [
                *("granian", "--interface", "asgi", "--runtime-mode", "st"),
                *("--host", "127.0.0.1", "--port", str(port), *options, application),
            ],
            port,
        )

    def start_gunicorn(self) -> Server:
        """Start Gunicorn, which serves HTTP by WSGI alone, and wait until it is ready."""
        port = free_port()
        source = (
            "from django.core.wsgi import get_wsgi_application as make\napplication = make()\n"
        )
        (self.directory / "site_wsgi.py").write_text(source, encoding="utf-8")
        module = ["gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "2"]
        return self._start_server("gunicorn", [*module, "site_wsgi:application"], port)

    def start_runner(self, *names: str) -> Process:
        """Start the runner of the clients, or of those named."""
        return self.start("runner", "run_websocket_clients", *names)

    def start(self, name: str, *arguments: str) -> Process:
        """Start a management command that stays for a while."""
        command = [sys.executable, str(REPOSITORY / "manage.py"), *arguments]
        process = Process(name, command, self._log(name), self.env(), self.directory)
        self.processes.append(process)
        return process

    def kill(self, process: Process, number: Signals = SIGKILL) -> int:
        """End one of the processes by a signal, and return its exit status."""
        return process.kill(number)

    def end(self) -> None:
        """End everything that was started, and print what it had to say.

        pytest shows that only for a test that failed.
        """
        for process in reversed(self.processes):
            process.end()
        for process in self.processes:
            print(f"--- {process.log.name}\n{process.output}")  # noqa: T201 (see above)

    def env(self) -> dict[str, str]:
        """Return the environment of the site's processes."""
        inherited: Mapping[str, str] = os.environ
        return {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "DJANGO_SECRET_KEY": "not secret: for tests alone",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self._redis_url or "",
            "HANDLER_PACKAGES": f"{HANDLERS},handlers",
            "PYTHONPATH": os.pathsep.join([str(self.directory), str(REPOSITORY)]),
            "PYTHONUNBUFFERED": "1",
        }

    def _start_server(self, name: str, module: list[str], port: int) -> Server:
        command = [sys.executable, "-m", *module]
        server = Server(name, command, self._log(name), self.env(), self.directory, port)
        self.processes.append(server)
        server.wait_until_ready()
        return server

    def _log(self, name: str) -> Path:
        return self.directory / f"{len(self.processes) + 1}-{name}.log"
