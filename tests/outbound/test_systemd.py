"""What the runner tells the service manager, over a socket such as systemd's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infrastructure.service_manager import ServiceManagerSocket, listening
from websockets_app.outbound.systemd import ServiceManager


@pytest.fixture
def systemd() -> Iterator[ServiceManagerSocket]:
    with listening() as opened:
        yield opened


def test_it_says_ready_how_it_does_and_that_it_stops(systemd: ServiceManagerSocket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.address})
    manager.ready("Clients: 1.")
    manager.status("Clients: 1.")
    manager.status("Clients: 2.")
    manager.stopping("Closing.")
    assert systemd.heard() == [
        "READY=1\nSTATUS=Clients: 1.",
        "STATUS=Clients: 2.",
        "STOPPING=1\nSTATUS=Closing.",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_the_socket_may_be_abstract() -> None:
    name = f"websockets-tests-{os.getpid()}"
    with listening(f"\0{name}") as systemd:
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).status("well")
        assert systemd.heard() == ["STATUS=well"]


async def test_the_watchdog_is_fed_if_it_is_this_process_that_it_watches(
    systemd: ServiceManagerSocket,
) -> None:
    asked = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000000"}
    assert ServiceManager(asked).watchdog_seconds == 3.0
    assert ServiceManager({**asked, "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 3.0
    assert ServiceManager({**asked, "WATCHDOG_PID": "1"}).watchdog_seconds is None
    await ServiceManager(asked).feed_watchdog()
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize("unusable", ["", "0", "-5", "soon", "²"])
def test_a_watchdog_that_names_no_time_is_none(unusable: str) -> None:
    asked = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": unusable}
    assert ServiceManager(asked).watchdog_seconds is None


def test_without_a_service_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"WATCHDOG_USEC": "3000000"})
    manager.ready("Clients: 1.")
    assert manager.watchdog_seconds is None
    assert not caplog.records


def test_one_that_is_gone_is_logged_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("Clients: 1.")
    assert "can't be told 'READY=1" in caplog.text


def test_an_address_of_another_kind_is_logged_and_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ServiceManager({"NOTIFY_SOCKET": "vsock:2:1234"}).ready("Clients: 1.")
    (record,) = caplog.records
    assert "NOTIFY_SOCKET=vsock:2:1234" in record.getMessage()
