"""The outbox: messages on their way to clients' peers."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import OutboxMessage
from .base import ReadOnlyAdmin, badge


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin[OutboxMessage]):
    """Messages, the latest first."""

    list_display = ("message_id", "client", "shown_status", "queued_at", "written_at", "reason")
    list_filter = ("status",)
    list_select_related = ("client",)
    search_fields = ("message_id__exact", "client__name__exact")
    fields = (
        "message_id",
        "client",
        "shown_status",
        "reason",
        "content",
        "queued_at",
        "expires_at",
        "claimed_at",
        "written_at",
        "ended_at",
        "epoch",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxMessage]:
        return (
            super().get_queryset(request).defer("text", "binary")
        )  # a page reads it when it shows it

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, obj: OutboxMessage) -> str:
        return badge(obj.status, obj.get_status_display())

    @admin.display(description=_("message"))
    def content(self, obj: OutboxMessage) -> str:
        shown = obj.text if obj.text is not None else bytes(obj.binary or b"").hex(" ")
        return format_html('<pre class="websockets-text">{}</pre>', shown)
