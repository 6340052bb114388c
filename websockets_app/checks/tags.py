"""The tag by which `manage.py check --tag websockets` runs our checks alone."""

from __future__ import annotations

from typing import Final

WEBSOCKETS: Final = "websockets"
