"""Clients: what is wanted of each, and what its runner last told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..core.states import ClientState, Desired, NodeKind, NodeState
from ..models import Client, ClientRuntime, Event, Node, OutboxMessage
from ..models.client import ClientQuerySet
from ..outbound.config import problem_of
from ..outbound.credentials import redacted
from .base import EVENTS_SHOWN, badge, cut, exact_time, shown_problem
from .descriptor import DescriptorAdmin


@admin.register(Client)
class ClientAdmin(DescriptorAdmin[Client]):
    """Clients can be run and stopped; what their runner knows is shown."""

    list_display = (
        "name",
        "redacted_uri",
        "desired",
        "state",
        "reason",
        "problem",
    )
    list_filter = ("desired", "runtime__state", "handler")
    list_select_related = ("runtime",)
    search_fields = ("name", "handler", "description")
    actions = ("run", "stop")
    readonly_fields = ("runtime_table", "problem", "created_at", "updated_at")
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
        return Client.objects.order_by("name")

    def get_fieldsets(self, request: HttpRequest, obj: Client | None = None) -> Any:
        """Add, to a row that there is, how it does."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        now = (_("Now"), {"fields": ("runtime_table", "problem")})
        history = (_("History"), {"fields": ("created_at", "updated_at"), "classes": ["collapse"]})
        return (fieldsets[0], now, *fieldsets[1:], history)

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

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and _nobody_runs_them():
            text = gettext("No runner is alive: start manage.py run_websocket_clients.")
            self.message_user(request, text, messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("URI"), ordering="uri")
    def redacted_uri(self, obj: Client) -> str:
        return redacted(obj.uri)

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

    @admin.display(description=_("problem"))
    def problem(self, obj: Client) -> str:
        return shown_problem(problem_of(obj))

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

    @admin.action(permissions=["change"], description=_("Run selected clients"))
    def run(self, request: HttpRequest, queryset: ClientQuerySet) -> None:
        done, idle = gettext("To run"), gettext("Nothing to change")
        self.turn(
            request, queryset, ClientQuerySet.run, "desired", Desired.RUN, done=done, idle=idle
        )

    @admin.action(permissions=["change"], description=_("Stop selected clients"))
    def stop(self, request: HttpRequest, queryset: ClientQuerySet) -> None:
        done, idle = gettext("To stop"), gettext("Nothing to change")
        self.turn(
            request, queryset, ClientQuerySet.stop, "desired", Desired.STOP, done=done, idle=idle
        )


def _runtime(obj: Client) -> ClientRuntime:
    """Return what the runner knows; before it has seen the client, that is nothing."""
    runtime: ClientRuntime | None = getattr(obj, "runtime", None)
    return runtime or ClientRuntime(client=obj, state=ClientState.UNASSIGNED)


def _badge(runtime: ClientRuntime) -> str:
    return badge(runtime.state, runtime.get_state_display())


def _nobody_runs_them() -> bool:
    runners = Node.objects.filter(kind=NodeKind.RUNNER, state=NodeState.ALIVE)
    return Client.objects.desired_to_run().exists() and not runners.exists()
