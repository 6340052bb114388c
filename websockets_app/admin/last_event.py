"""The column of the last event, which endpoints and clients share."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models.choices import EVENT_KIND
from .base import exact_time

KINDS: Final = {str(kind): label for kind, label in EVENT_KIND}


@admin.display(description=_("last event"), empty_value="–", ordering="last_event_at")
def last_event(obj: Any) -> str:
    """Tell the kind and the time for a row that is annotated `with_last_event()`."""
    if obj.last_event_at is None:
        return ""
    kind, when = KINDS[obj.last_event_kind], exact_time(obj.last_event_at)
    return format_html('{}<br><small class="nowrap">{}</small>', kind, when)
