"""Links from history to rows that may be gone: it names them without a constraint."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from .base import change_link


def link_if_there(model: type[Model], key: Any, text: str = "") -> str:
    """Return a link to the row, or its key (or `text`) alone where it is deleted."""
    if not key:
        return text
    row = model._default_manager.filter(pk=key).first()
    return change_link(model, key, row) if row is not None else text or str(key)
