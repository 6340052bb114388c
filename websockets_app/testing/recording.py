"""The setting under which an endpoint works inside a test's transaction."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.test import override_settings

_FOR_TESTS: Final = {
    "RECORDING": "inline",
    "POLL_INTERVAL": 0.05,
    "SHUTDOWN_TIMEOUT": 1.0,
}


def inline_recording() -> override_settings:
    """Return what lets endpoints read and write where the test does: in its transaction.

    A decorator of a test or of a `TestCase`, or a context manager. Sets `RECORDING` to "inline",
    so that all database work runs in Django's own thread for it and is done when it is awaited,
    lets changed rows take effect at once, and gives handlers one second to end in.
    """
    return override_settings(WEBSOCKETS={**getattr(settings, "WEBSOCKETS", {}), **_FOR_TESTS})
