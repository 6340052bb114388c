"""A real MariaDB, from the system's package `mariadb-server`; it needs no root.

As a program, it runs a command that finds such a server in ``TEST_DATABASE_URL``::

    python -m tests.infrastructure.mariadb pytest tests/models
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.infrastructure.waiting import eventually

HOW_TO_GET_IT: Final = (
    "No MariaDB, or no mysqlclient. Install mariadb-server and libmariadb-dev, "
    "then run make test-mariadb once: it compiles the driver."
)
PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
START_SECONDS: Final = 30
FAST: Final = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-doublewrite=0",
    "--innodb-fast-shutdown=2",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=32M",
    "--performance-schema=OFF",
    "--skip-name-resolve",
)
"""Data that is thrown away needs no safety."""


def require_mariadb() -> None:
    """Skip the test if there is no server or no driver for it; fail it if `CI` is true."""
    is_there = find_spec("MySQLdb") and _program("mariadbd") and _program("mariadb-install-db")
    if not is_there and os.environ.get("CI") == "true":
        pytest.fail(HOW_TO_GET_IT)
    if not is_there:
        pytest.skip(HOW_TO_GET_IT)


@contextmanager
def running_mariadb() -> Iterator[str]:
    """Run a MariaDB of one's own, on a Unix socket, and give its URL."""
    # Not pytest's directory: the path of a Unix socket has to be short.
    with tempfile.TemporaryDirectory(prefix="mariadb-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        data, socket, log = directory / "data", directory / "socket", directory / "log"
        _install(data)
        command = [
            *(_program("mariadbd") or "", "--no-defaults", f"--user={getuser()}"),
            *(f"--datadir={data}", f"--socket={socket}", f"--pid-file={directory / 'pid'}"),
            *("--skip-networking", "--character-set-server=utf8mb4", "--max-connections=300"),
            *("--max-allowed-packet=64M", "--default-time-zone=+05:00", *FAST),
        ]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            url = f"mysql://root@localhost/mysql?unix_socket={socket}"
            _wait_until_ready(server, url, log)
            yield url
        finally:
            server.terminate()
            server.wait()


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create a database on a server, give its URL, and drop it."""
    name = f"test_{uuid4().hex[:12]}"
    execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        execute(server_url, f"DROP DATABASE {name}")


def execute(url: str, sql: str) -> list[dict[str, Any]]:
    """Run a statement in a connection of its own, and return its rows."""
    from MySQLdb import connect
    from MySQLdb.cursors import DictCursor

    parts = urlsplit(url)
    socket = parse_qs(parts.query)["unix_socket"][0]
    name = parts.path.removeprefix("/")
    connection = connect(
        user=parts.username, unix_socket=socket, database=name, charset="utf8mb4", autocommit=True
    )
    with closing(connection), connection.cursor(DictCursor) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def _install(data: Path) -> None:
    subprocess.run(
        [
            *(_program("mariadb-install-db") or "", "--no-defaults", f"--user={getuser()}"),
            *(f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--innodb-flush-method=nosync"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PATH": PATH},
    )


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    from MySQLdb import OperationalError

    def answers() -> bool:
        if server.poll() is not None:
            raise RuntimeError(f"mariadbd ended with {server.returncode}:\n{log.read_text()}")
        try:
            return bool(execute(url, "SELECT 1"))
        except OperationalError:
            return False

    eventually(answers, timeout=START_SECONDS, every=0.05)


def _program(name: str) -> str | None:
    return shutil.which(name, path=PATH)


if __name__ == "__main__":
    with running_mariadb() as url:
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    sys.exit(status)
