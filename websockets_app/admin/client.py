"""Clients: what is wanted of each, and what its runner last told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..core.states import ClientState, Desired, NodeKind, OutboxStatus
from ..exceptions import MessageTooBig
from ..models import Client, ClientRuntime, Event, Node, OutboxMessage
from ..models.client import ClientQuerySet
from ..models.outbox import OutboxQuerySet
from ..node.health import nobody_runs_them
from ..outbound.config import problem_of
from ..outbound.credentials import redacted, redacted_headers
from ..outbound.handle import WebsocketClient
from .base import EVENTS_SHOWN, Tool, badge, cut, exact_time
from .descriptor import DescriptorAdmin
from .filters import OwnerFilter
from .outbox import backlog_of
from .problems import problems_in_brief, problems_in_full, with_problems
from .sending import SendingAdmin

REDACTED_BY: Final = {
    "uri": "redacted_uri",
    "headers": "redacted_headers",
    "proxy": "redacted_proxy",
}
"""The fields that hold secrets, and what shows each without them."""


@admin.register(Client)
class ClientAdmin(SendingAdmin[Client], DescriptorAdmin[Client]):
    """Clients can be run, stopped and written to; what their runner knows is shown."""

    list_display = (
        "shown_name",
        "redacted_uri",
        "desired",
        "state",
        "reason",
        "problem_in_brief",
    )
    list_filter = ("desired", "runtime__state", "ephemeral", OwnerFilter, "handler")
    list_select_related = ("runtime",)
    search_fields = ("name", "handler", "description")
    shows_rows_of = {"backlog": OutboxMessage}
    actions = ("delete_selected", "run", "stop", "close_connection", "send_text")
    readonly_fields = (
        "ephemeral",
        "runtime_table",
        "backlog",
        "problem",
        "created_at",
        "updated_at",
    )
    fieldsets = (
        (None, {"fields": ("name", "uri", "handler", "engine", "desired", "description")}),
        (_("Handshake"), {"fields": ("headers", "subprotocols", "origin")}),
        (
            _("TLS and proxy"),
            {
                "fields": ("verify_tls", "ca_certificates", "proxy", "compression"),
                "classes": ("collapse",),
            },
        ),
        (_("Behaviour"), {"fields": ("on_handler_error", "record_messages")}),
        (_("Outbox"), {"fields": ("on_uncertain", "message_ttl")}),
        (
            _("Reconnecting"),
            {
                "fields": ("backoff_base", "backoff_ceiling", "stable_after"),
                "classes": ("collapse",),
            },
        ),
        (
            _("Limits"),
            {
                "fields": (
                    "max_message_size",
                    "open_timeout",
                    "close_timeout",
                    "ping_interval",
                    "ping_timeout",
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> ClientQuerySet:
        return with_problems(Client.objects.order_by("name"), NodeKind.RUNNER)

    def all_fieldsets(self, request: HttpRequest, obj: Client | None = None) -> Any:
        """Add, to a row that there is, how it does."""
        fieldsets = super().all_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        told = ("runtime_table", "backlog", "problem")
        now = (_("Now"), {"fields": ("ephemeral", *told) if obj.ephemeral else told})
        history = (_("History"), {"fields": ("created_at", "updated_at"), "classes": ["collapse"]})
        return (fieldsets[0], now, *fieldsets[1:], history)

    def field_to_show(self, request: HttpRequest, obj: Client | None, field: Any) -> Any:
        """Show secrets only to users who can change the row."""
        if obj is None or self.has_change_permission(request, obj):
            return field
        return REDACTED_BY.get(field, field)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by a secret: a user could find it out character by character."""
        if lookup.partition(LOOKUP_SEP)[0] in REDACTED_BY:
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_deleted_objects(
        self, objs: Sequence[Client] | QuerySet[Client], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what goes with clients: listing a long outbox would take longer than deleting it.

        Nobody may delete a single message, but whoever may delete a client may delete its outbox.
        """
        waiting = OutboxMessage.objects.filter(client__in=objs).count()
        counts = {
            str(Client._meta.verbose_name_plural): len(objs),
            str(OutboxMessage._meta.verbose_name_plural): waiting,
        }
        return [str(client) for client in objs], counts, set(), []

    def events_of(self, obj: Client) -> Iterable[Event]:
        return Event.objects.filter(client=obj.pk)[:EVENTS_SHOWN]

    def events_query(self, obj: Client) -> Mapping[str, str]:
        return {"client_id": str(obj.pk)}

    def tools_of(self, obj: Client) -> Iterable[Tool]:
        yield Tool("send_text", _("Send text"))
        if obj.desired == Desired.RUN:
            yield Tool("close_connection", _("Close the connection"))

    def has_send_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and nobody_runs_them():
            text = gettext("No runner is alive: start manage.py run_websocket_clients.")
            self.message_user(request, text, messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("name"), ordering="name")
    def shown_name(self, obj: Client) -> str:
        if not obj.ephemeral:
            return self.with_file(obj, obj.name)
        return format_html("{} {}", cut(obj.name, 20), badge("ephemeral", _("ephemeral")))

    # Not sortable: a user who can add clients could find out a secret from the order.
    @admin.display(description=_("URI"))
    def redacted_uri(self, obj: Client) -> str:
        return redacted(obj.uri)

    @admin.display(description=_("headers"))
    def redacted_headers(self, obj: Client) -> str:
        return json.dumps(redacted_headers(obj.headers), ensure_ascii=False)

    @admin.display(description=_("proxy"))
    def redacted_proxy(self, obj: Client) -> str:
        return redacted(obj.proxy) or "–"

    @admin.display(description=_("state, since"), ordering="runtime__state")
    def state(self, obj: Client) -> str:
        runtime = _runtime(obj)
        shown, since = _badge(runtime), exact_time(runtime.since)
        return format_html('{}<br><small class="nowrap">{}</small>', shown, since)

    @admin.display(description=_("reason, next attempt"), ordering="runtime__next_attempt_at")
    def reason(self, obj: Client) -> str:
        runtime = _runtime(obj)
        if runtime.next_attempt_at is None:
            return cut(runtime.reason)
        reason, at = cut(runtime.reason), exact_time(runtime.next_attempt_at)
        return format_html('{}<br><small class="nowrap">{}</small>', reason, at)

    @admin.display(description=_("problem"), empty_value="–")
    def problem_in_brief(self, obj: Client) -> str:
        return problems_in_brief(obj, problem_of)

    @admin.display(description=_("problem"))
    def problem(self, obj: Client) -> str:
        return problems_in_full(obj, problem_of)

    @admin.display(description=_("runner's report"))
    def runtime_table(self, obj: Client) -> str:
        runtime = _runtime(obj)
        holder = Node.objects.filter(pk=runtime.holder_id).first()
        context = {
            "runtime": runtime,
            "holder": holder,
            "state": _badge(runtime),
        }
        return render_to_string("admin/websockets_app/client/runtime.html", context)

    @admin.display(description=_("outbox"))
    def backlog(self, obj: Client) -> str:
        return backlog_of(obj)

    @admin.action(permissions=["change"], description=_("Run selected clients"))
    def run(self, request: HttpRequest, queryset: ClientQuerySet) -> None:
        closing = list(queryset.filter(Exists(_queued_closes())))
        done, idle = gettext("To run"), gettext("Was to run already")
        self.turn(
            request, queryset, ClientQuerySet.run, "desired", Desired.RUN, done=done, idle=idle
        )
        self.record_change(request, closing, gettext("Gave its queued close up."))
        self.tell(request, gettext("Its queued close is given up"), closing, messages.INFO)

    @admin.action(permissions=["change"], description=_("Stop selected clients"))
    def stop(self, request: HttpRequest, queryset: ClientQuerySet) -> None:
        done, idle = gettext("To stop"), gettext("Was to stop already")
        self.turn(
            request, queryset, ClientQuerySet.stop, "desired", Desired.STOP, done=done, idle=idle
        )

    @admin.action(
        permissions=["change"],
        description=_("Close and reconnect selected clients (ephemeral ones end)"),
    )
    def close_connection(self, request: HttpRequest, queryset: ClientQuerySet) -> None:
        rows = list(queryset)
        running = [row for row in rows if row.desired == Desired.RUN]
        chosen = Client.objects.filter(pk__in=[row.pk for row in running])
        with chosen.atomic():
            chosen.reconnect()
            self.record_change(request, running, gettext("Closed the connection."))
        lasting = [row for row in running if not row.ephemeral]
        ending = [row for row in running if row.ephemeral]
        self.tell(request, gettext("To close and connect again"), lasting, messages.SUCCESS)
        self.tell(request, gettext("To close and end"), ending, messages.SUCCESS)
        idle = [row for row in rows if row not in running]
        self.tell(request, gettext("Nothing to close: not to run"), idle, messages.INFO)

    def whereto(self, number: int) -> str:
        return (
            ngettext(
                "The text waits in the outbox of %d client until it is open:",
                "The text waits in the outbox of each of %d clients until it is open:",
                number,
            )
            % number
        )

    def deliver(self, request: HttpRequest, queryset: QuerySet[Client], text: str) -> None:
        rows = list(queryset)
        try:
            with OutboxMessage.objects.atomic():
                there = _kept_from_going(rows)
                for row in there:
                    WebsocketClient.of(row).send(text)
                length = gettext("Queued a text of %d characters.") % len(text)
                self.record_change(request, there, length)
        except MessageTooBig as problem:
            self.message_user(request, str(problem), messages.ERROR)
            return
        self.tell(request, gettext("Queued for"), there, messages.SUCCESS)
        gone = [row for row in rows if row not in there]
        self.tell(request, gettext("Have ended"), gone, messages.WARNING)


def _kept_from_going(rows: Sequence[Client]) -> list[Client]:
    """Return those of `rows` that haven't ended; in this transaction, nobody deletes them."""
    there = Client.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")
    keys = set(there.select_for_update().values_list("pk", flat=True))
    return [row for row in rows if row.pk in keys and _runtime(row).ended_at is None]


def _queued_closes() -> OutboxQuerySet:
    closes = OutboxMessage.objects.filter(client=OuterRef("pk"), close_code__isnull=False)
    return closes.filter(status=OutboxStatus.QUEUED)


def _runtime(obj: Client) -> ClientRuntime:
    """Return what the runner knows; before it has seen the client, that is nothing."""
    runtime: ClientRuntime | None = getattr(obj, "runtime", None)
    return runtime or ClientRuntime(client=obj, state=ClientState.UNASSIGNED)


def _badge(runtime: ClientRuntime) -> str:
    return badge(runtime.state, runtime.get_state_display())
