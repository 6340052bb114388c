"""Endpoints: the list says how each does, the page lets an operator change it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Value
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..core.states import NodeKind
from ..inbound.config import problem_of, services_problem_of
from ..models import Endpoint, EndpointGroup, Event, Session
from ..models.endpoint import EndpointQuerySet
from ..models.shadowing import Shadow, shadows_of
from .base import (
    EVENTS_SHOWN,
    TabularInline,
    change_link,
    changelist_url,
)
from .descriptor import DescriptorAdmin, is_of_a_file
from .filters import OPEN, OwnerFilter
from .last_event import last_event
from .problems import problems_in_brief, problems_in_full, with_problems


class EndpointGroupInline(TabularInline[EndpointGroup, Endpoint]):
    """The groups whose members alone may enter."""

    model = EndpointGroup
    extra = 0
    verbose_name = _("group")
    verbose_name_plural = _("Groups: only members of one of these may enter")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not is_of_a_file(obj) and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not is_of_a_file(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not is_of_a_file(obj) and super().has_delete_permission(request, obj)


@admin.register(Endpoint)
class EndpointAdmin(DescriptorAdmin[Endpoint]):
    """What is saved here is live in every process within a second."""

    inlines = (EndpointGroupInline,)
    list_display = (
        "shown_endpoint",
        "handler_and_problem",
        "access",
        "enabled",
        "sessions_open",
        last_event,
        "url",
    )
    list_filter = ("enabled", "access", OwnerFilter, "handler")
    search_fields = ("endpoint", "handler", "description")
    shows_rows_of = {"sessions_open": Session, last_event: Event}
    actions = ("delete_selected", "enable", "disable")
    about_now: ClassVar[tuple[str, ...]] = ("url", "problem", "sessions_open", "shadows")
    readonly_fields = (*about_now, "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("endpoint", "handler", "engine", "enabled", "description")}),
        (
            _("Who may enter"),
            {
                "fields": (
                    "access",
                    "permission",
                    "origins",
                    "allow_missing_origin",
                    "accept_users_without_row",
                )
            },
        ),
        (
            _("Behaviour"),
            {"fields": ("on_change", "on_handler_error", "subprotocols", "record_messages")},
        ),
        (_("Services of 2.x"), {"fields": ("services",), "classes": ("collapse",)}),
        (
            _("Limits"),
            {
                "fields": (
                    "max_message_size",
                    ("messages_per_second", "message_burst", "rate_scope"),
                    ("connections_per_minute", "connection_burst"),
                    ("max_sessions", "max_sessions_per_user", "max_sessions_per_address"),
                    ("idle_timeout", "send_timeout"),
                    ("inbox_messages", "inbox_bytes"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> EndpointQuerySet:
        rows = Endpoint.objects.order_by("endpoint").with_open_sessions().with_last_event()
        rows = with_problems(rows, NodeKind.SERVER)
        return rows.annotate(base_url=Value(_base_url(request)))

    def all_fieldsets(self, request: HttpRequest, obj: Endpoint | None = None) -> Any:
        """Add, to a row that there is, how it does."""
        fieldsets = super().all_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        history = (_("History"), {"fields": ("created_at", "updated_at"), "classes": ["collapse"]})
        return (fieldsets[0], (_("Now"), {"fields": self.about_now}), *fieldsets[1:], history)

    def load_warnings(self, obj: Endpoint) -> Iterator[str]:
        yield from super().load_warnings(obj)
        if problem := services_problem_of(obj):
            text = gettext("Saved, but in this process it can't offer all services: %(problem)s")
            yield text % {"problem": problem}

    def events_of(self, obj: Endpoint) -> Iterable[Event]:
        return Event.objects.filter(endpoint=obj.pk)[:EVENTS_SHOWN]

    def events_query(self, obj: Endpoint) -> Mapping[str, str]:
        return {"endpoint_id": str(obj.pk)}

    @admin.display(description=_("endpoint"), ordering="endpoint")
    def shown_endpoint(self, obj: Endpoint) -> str:
        return self.with_file(obj, obj.endpoint)

    @admin.display(description=_("open"), ordering="open_sessions")
    def sessions_open(self, obj: Endpoint) -> str:
        number = getattr(obj, "open_sessions", 0)
        url = changelist_url(Session, {"endpoint": str(obj.pk), "state": OPEN})
        return format_html('<a href="{}">{}</a>', url, number)

    @admin.display(description=_("URL"))
    def url(self, obj: Endpoint) -> str:
        base = getattr(obj, "base_url", "")
        return format_html("<code>{}{}</code>", base, obj.path)

    @admin.display(description=_("handler, problem"), ordering="handler")
    def handler_and_problem(self, obj: Endpoint) -> str:
        problems = problems_in_brief(obj, problem_of)
        return format_html("{}<br>{}", obj.handler, problems) if problems else obj.handler

    @admin.display(description=_("problem"))
    def problem(self, obj: Endpoint) -> str:
        return problems_in_full(obj, problem_of)

    @admin.display(description=_("shared paths"))
    def shadows(self, obj: Endpoint) -> str:
        found = shadows_of(obj)
        whole, some = _("Never reached: %s takes every path"), _("%s takes some paths first")
        lines = [_shadow(shadow, whole if shadow.whole else some) for shadow in found.by]
        whole, some = _("Takes every path of %s"), _("Takes some paths of %s")
        lines += [_shadow(shadow, whole if shadow.whole else some) for shadow in found.over]
        return format_html_join("", "<div>{}</div>", [(line,) for line in lines]) or "–"

    @admin.action(permissions=["change"], description=_("Enable selected endpoints"))
    def enable(self, request: HttpRequest, queryset: EndpointQuerySet) -> None:
        done, idle = gettext("Enabled"), gettext("Was enabled already")
        self.turn(
            request, queryset, EndpointQuerySet.enable, "enabled", True, done=done, idle=idle
        )

    @admin.action(permissions=["change"], description=_("Disable selected endpoints"))
    def disable(self, request: HttpRequest, queryset: EndpointQuerySet) -> None:
        done, idle = gettext("Disabled"), gettext("Was disabled already")
        self.turn(
            request, queryset, EndpointQuerySet.disable, "enabled", False, done=done, idle=idle
        )


def _base_url(request: HttpRequest) -> str:
    """Return where a browser that sent this request dials."""
    return f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"


def _shadow(shadow: Shadow, words: Any) -> str:
    link = change_link(Endpoint, shadow.endpoint.pk, shadow.endpoint)
    return format_html(str(words).replace("%s", "{}"), link)
