"""Processes that a test starts, signals, reads and surely ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.infrastructure.ports import is_listening
from tests.infrastructure.waiting import SCALE, eventually


class Process:
    """A process in a group of its own, whose output goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it has printed until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, where it still runs."""
        if self.returncode is None:
            self._popen.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end, for ``timeout`` (scaled) seconds, and return its exit status."""
        return self._popen.wait(timeout * SCALE)

    def kill(self, number: signal.Signals = signal.SIGKILL, timeout: float = 20.0) -> int:
        """Send it a signal that ends it, wait until it has ended, and return its exit status."""
        self.send(number)
        return self.wait(timeout)

    def wait_for_output(self, text: str, timeout: float = 10.0) -> None:
        """Wait until it has printed ``text``."""
        eventually(lambda: text in self.output, timeout)

    def end(self) -> None:
        """End it and whatever it started: politely first, then surely."""
        self.send(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self._kill_group()
            self.wait()
        self._kill_group()

    def _kill_group(self) -> None:
        # The group is this process's own, and outlives it where it left children behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Server(Process):
    """A process that listens on a port of 127.0.0.1."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        port: int,
    ) -> None:
        super().__init__(name, command, log, env, cwd)
        self.port = port

    def http(self, path: str = "/") -> str:
        """Return the http URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ws(self, path: str) -> str:
        """Return the ws URL of an endpoint below the default prefix, or of an absolute path."""
        absolute = path if path.startswith("/") else f"/websockets/v4/service/{path}"
        return f"ws://127.0.0.1:{self.port}{absolute}"

    def wait_until_ready(self, timeout: float = 20.0) -> None:
        """Wait until it accepts connections; fail at once, with its output, where it has ended."""

        def is_ready() -> bool:
            if self.returncode is not None:
                raise RuntimeError(f"{self.name} ended with {self.returncode}:\n{self.output}")
            return is_listening(self.port)

        eventually(is_ready, timeout)
