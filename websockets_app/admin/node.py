"""Nodes: the processes that hold sessions and clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import Client, Event, Node, Session
from .base import EVENTS_SHOWN, ReadOnlyAdmin, badge, changelist_url
from .filters import OPEN


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin[Node]):
    """Processes: alive, stopped and lost, and what each holds."""

    list_display = (
        "__str__",
        "kind",
        "shown_state",
        "stuck_callbacks",
        "waiting_callbacks",
        "server",
        "started_at",
        "renewed_at",
        "stopped_at",
        "sessions_open",
        "clients_held",
    )
    list_filter = ("state", "kind")
    search_fields = ("id__startswith", "hostname")
    shows_rows_of = {"sessions_open": Session, "clients_held": Client}
    fields = (
        "id",
        "kind",
        "shown_state",
        "hostname",
        "pid",
        "server",
        "started_at",
        "renewed_at",
        "stopped_at",
        "beat",
        "reaped",
        "sessions_open",
        "clients_held",
        "stuck_callbacks",
        "waiting_callbacks",
        "channel",
        "mail_lost",
        "mail_dropped",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        return Node.objects.order_by("-started_at").with_load()

    def events_of(self, obj: Node) -> Iterable[Event]:
        return Event.objects.filter(node=obj.pk, peer="").order_by("-seq")[:EVENTS_SHOWN]

    def events_query(self, obj: Node) -> Mapping[str, str]:
        return {"node_id": obj.pk}

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, obj: Node) -> str:
        return badge(obj.state, obj.get_state_display())

    @admin.display(description=_("open sessions"), ordering="open_sessions")
    def sessions_open(self, obj: Node) -> str:
        url = changelist_url(Session, {"node": obj.pk, "state": OPEN})
        return format_html('<a href="{}">{}</a>', url, getattr(obj, "open_sessions", 0))

    @admin.display(description=_("clients"), ordering="held_clients")
    def clients_held(self, obj: Node) -> int:
        return int(getattr(obj, "held_clients", 0))
