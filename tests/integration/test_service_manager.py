"""A runner that a service manager started, as systemd does with Type=notify."""

from __future__ import annotations

import re
import signal

import pytest

from tests.infrastructure.service_manager import listening
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import eventually


def test_a_runner_tells_when_it_is_ready_that_it_lives_and_when_it_stops(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        heard: list[str] = []

        def said(pattern: str) -> bool:
            heard.extend(systemd.heard())
            return bool(re.search(pattern, "\n".join(heard)))

        runner = site.start_runner()
        eventually(lambda: said("READY=1"), timeout=10)
        assert heard[0] == "READY=1\nSTATUS=Clients to run: 0; held here: 0."
        eventually(lambda: said("(WATCHDOG=1\n?){3}"))
        row = {"name": "nowhere", "uri": "ws://127.0.0.1:1/", "handler": "handlers.printer"}
        site.shell(f"Client.objects.create(**{row})")
        eventually(lambda: said("STATUS=Clients to run: 1; held here: 1."))
        assert "STOPPING" not in str(heard)
        assert runner.kill(signal.SIGTERM) == 0
        assert said("STOPPING=1\nSTATUS=Closing its connections.")
