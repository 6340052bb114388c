"""Minutes: what each endpoint and client did, minute by minute."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import Minute
from .base import ReadOnlyAdmin


@admin.register(Minute)
class MinuteAdmin(ReadOnlyAdmin[Minute]):
    """Counters, the latest minute first."""

    list_display = (
        "minute",
        "direction",
        "name",
        "opened",
        "closed",
        "refused",
        "errors",
        "messages_in",
        "messages_out",
        "bytes_in",
        "bytes_out",
    )
    list_filter = ("direction",)
    fields = (*list_display, "descriptor", "node_id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Minute]:
        return Minute.objects.order_by("-minute").with_names()

    @admin.display(description=_("name"))
    def name(self, obj: Minute) -> str:
        return getattr(obj, "name", None) or f"#{obj.descriptor}"

    @admin.display(description=_("node"))
    def node_id(self, obj: Minute) -> str:
        return str(obj.node_id)
