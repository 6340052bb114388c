"""A real nginx, which needs no root: one process in front of servers that tests start."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.infrastructure.processes import Server

HOW_TO_GET_IT: Final = "No nginx on the PATH. Install it (Debian: apt-get install nginx-light)."
SBIN: Final = "/usr/sbin"
FRAME: Final = """
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {site}
}}
"""


def nginx_or_skip() -> str:
    """Return nginx's path. Where there is none, skip the test, or fail it where `CI` is true."""
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), SBIN]))
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(HOW_TO_GET_IT)
    if path is None:
        pytest.skip(HOW_TO_GET_IT)
    return path


class Nginx(Server):
    """An nginx, whose configuration can be written anew while it runs."""

    def __init__(self, directory: Path, site: str, port: int) -> None:
        directory.mkdir()
        self.directory = directory
        self.program = nginx_or_skip()
        self.write(site)
        command = [*self._command, "-g", "daemon off;"]
        log, env = directory / "nginx.log", dict(os.environ)
        super().__init__("nginx", command, log, env, directory, port)

    @property
    def _command(self) -> list[str]:
        return [self.program, "-p", str(self.directory), "-c", "nginx.conf", "-e", "stderr"]

    def write(self, site: str) -> None:
        """Write what stands in `http`."""
        text = FRAME.format(directory=self.directory, site=site)
        (self.directory / "nginx.conf").write_text(text, encoding="utf-8")

    def reload(self) -> None:
        """Let it take what was written, as an operator does."""
        subprocess.run([*self._command, "-s", "reload"], check=True, capture_output=True)


@contextmanager
def running_nginx(directory: Path, site: str, port: int) -> Iterator[Nginx]:
    """Run an nginx on whose `port` a `server` of `site` listens."""
    nginx = Nginx(directory, site, port)
    try:
        nginx.wait_until_ready()
        yield nginx
    finally:
        nginx.end()
        print(f"--- nginx\n{nginx.output}")  # noqa: T201 - shown for a test that failed
