"""Fixtures for tests of handlers and their callbacks."""

from tests.inbound.conftest import write_handler

__all__ = ["write_handler"]
