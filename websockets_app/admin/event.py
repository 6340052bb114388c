"""Events: what was recorded, in its order."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import Event, Node, Session
from .base import ReadOnlyAdmin, cut, exact_time
from .links import link_if_there


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin[Event]):
    """Events, the latest first."""

    list_display = (
        "exact_at",
        "kind",
        "name",
        "direction",
        "short_peer",
        "code",
        "cause",
        "short_detail",
    )
    list_display_links = ("exact_at", "kind")
    list_filter = ("kind", "direction", "cause")
    # Exact ones use an index; a name is looked for by its beginning.
    search_fields = ("peer__exact", "name__startswith")
    always_shown: ClassVar = ("exact_at", "kind", "name", "node_link", "seq")
    shown_where_known: ClassVar = {
        "direction": "direction",
        "peer": "peer_link",
        "code": "code",
        "cause": "cause",
        "repeats": "repeats",
        "first_at": "exact_first_at",
        "detail": "whole_detail",
        "outgoing": "outgoing",
        "size": "size",
        "sha256": "sha256",
        "payload": "whole_payload",
        "lost": "lost",
    }
    """Each kind of event uses columns of its own: by column, what shows it."""

    def get_fields(self, request: HttpRequest, obj: Event | None = None) -> list[Any]:
        known = self.shown_where_known.items()
        return [
            *self.always_shown,
            *(shown for column, shown in known if getattr(obj, column) not in (None, "")),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        # The list shows no payloads; an event's page reads its own when it comes to it.
        return super().get_queryset(request).defer("payload")

    @admin.display(description=_("at"), ordering="id")
    def exact_at(self, obj: Event) -> str:
        return exact_time(obj.at)

    @admin.display(description=_("first at"))
    def exact_first_at(self, obj: Event) -> str:
        return exact_time(obj.first_at)

    @admin.display(description=_("peer"), ordering="peer")
    def short_peer(self, obj: Event) -> str:
        return obj.peer[:8]

    @admin.display(description=_("detail"))
    def short_detail(self, obj: Event) -> str:
        many = "" if obj.repeats is None else f"{obj.repeats} × "
        return f"{many}{cut(obj.detail)}"

    @admin.display(description=_("peer"))
    def peer_link(self, obj: Event) -> str:
        return link_if_there(Session, obj.peer)

    @admin.display(description=_("node"))
    def node_link(self, obj: Event) -> str:
        return link_if_there(Node, obj.node_id)

    @admin.display(description=_("detail"))
    def whole_detail(self, obj: Event) -> str:
        return format_html('<pre class="websockets-text">{}</pre>', obj.detail)

    @admin.display(description=_("payload"))
    def whole_payload(self, obj: Event) -> str:
        return format_html('<pre class="websockets-text">{}</pre>', obj.payload)
