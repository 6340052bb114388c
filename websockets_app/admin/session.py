"""Sessions: who is connected, who was, and why they left; to be closed and written to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..core.close_codes import CloseCode
from ..core.states import CloseCause, SendAnswer
from ..exceptions import ConfigurationError, NodeUnreachable
from ..inbound.handle import WebsocketSession
from ..models import Endpoint, Event, Node, Session
from .base import EVENTS_SHOWN, ReadOnlyAdmin, Tool, badge, exact_time, named
from .filters import CLOSED, OPEN, EndpointFilter, NodeFilter, StateFilter
from .links import link_if_there
from .sending import SendingAdmin

CLOSE: Final = _("Close")


@admin.register(Session)
class SessionAdmin(SendingAdmin[Session], ReadOnlyAdmin[Session]):
    """Sessions are never edited, but can be closed and written to, in whatever process."""

    list_display = (
        "short_id",
        "state",
        "endpoint_path",
        "username",
        "address",
        "opened",
        "closed",
        "code_and_cause",
        "in_and_out",
    )
    list_filter = (StateFilter, EndpointFilter, "close_cause", NodeFilter)
    search_fields = (
        "id__startswith",
        "endpoint_path__startswith",
        "username__startswith",
        "address__startswith",
    )
    actions = ("close", "send_text")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "state",
                    "endpoint_link",
                    "handler",
                    "path",
                    "params",
                    "opened",
                    "node_link",
                )
            },
        ),
        (_("Peer"), {"fields": ("username", "user_key", "address", "origin", "subprotocol")}),
        (
            CLOSE,
            {
                "fields": (
                    "closed",
                    "close_cause",
                    "close_code",
                    "close_code_sent",
                    "close_reason",
                )
            },
        ),
        (_("Traffic"), {"fields": (("messages_in", "bytes_in"), ("messages_out", "bytes_out"))}),
    )

    def has_close_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may steer sessions, whose rows nobody edits."""
        return request.user.has_perm("websockets_app.change_session")

    has_send_permission = has_close_permission

    def all_fieldsets(self, request: HttpRequest, obj: Session | None = None) -> Any:
        """Leave out how the session closed while it is open."""
        fieldsets = super().all_fieldsets(request, obj)
        if obj is not None and obj.is_open:
            return [named for named in fieldsets if named[0] != CLOSE]
        return fieldsets

    def events_of(self, obj: Session) -> Iterable[Event]:
        return Event.objects.filter(peer=obj.pk, node=obj.node_id).order_by("seq")[:EVENTS_SHOWN]

    def events_query(self, obj: Session) -> Mapping[str, str]:
        return {"peer": obj.pk}

    def tools_of(self, obj: Session) -> Iterable[Tool]:
        if obj.is_open:
            yield Tool("send_text", _("Send text"))
            yield Tool("close", _("Close session"))

    @admin.display(description=_("session"))
    def short_id(self, obj: Session) -> str:
        return obj.pk[:8]

    @admin.display(description=_("state"))
    def state(self, obj: Session) -> str:
        return badge(OPEN, _("open")) if obj.is_open else badge(CLOSED, _("closed"))

    @admin.display(description=_("opened"), ordering="opened_at")
    def opened(self, obj: Session) -> str:
        return exact_time(obj.opened_at)

    @admin.display(description=_("closed"), ordering="closed_at")
    def closed(self, obj: Session) -> str:
        return exact_time(obj.closed_at)

    @admin.display(description=_("code, cause"), ordering="close_code")
    def code_and_cause(self, obj: Session) -> str:
        return "–" if obj.is_open else f"{obj.close_code}, {obj.get_close_cause_display()}"

    @admin.display(description=_("in / out"), ordering="messages_in")
    def in_and_out(self, obj: Session) -> str:
        return f"{obj.messages_in} / {obj.messages_out}"

    @admin.display(description=_("endpoint"))
    def endpoint_link(self, obj: Session) -> str:
        return link_if_there(Endpoint, obj.endpoint_id, obj.endpoint_path)

    @admin.display(description=_("node"))
    def node_link(self, obj: Session) -> str:
        return link_if_there(Node, obj.node_id)

    @admin.action(permissions=["close"], description=_("Close selected sessions"))
    def close(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        def close(session: WebsocketSession) -> SendAnswer:
            return session.close(CloseCode.NORMAL, cause=CloseCause.ADMIN)

        closed = self._each(request, queryset, close, gettext("Closed"))
        self.record_change(request, closed, gettext("Closed the session."))

    def whereto(self, number: int) -> str:
        return (
            ngettext(
                "The text goes to %d session, whichever process holds it:",
                "The text goes to %d sessions, whichever processes hold them:",
                number,
            )
            % number
        )

    def deliver(self, request: HttpRequest, queryset: QuerySet[Session], text: str) -> None:
        sent = self._each(
            request, queryset, lambda session: session.send_text(text), gettext("Sent to")
        )
        length = gettext("Sent a text of %d characters.") % len(text)
        self.record_change(request, sent, length)

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Session],
        work: Callable[[WebsocketSession], SendAnswer],
        done: str,
    ) -> list[Session]:
        """Do `work` for each session, tell the outcomes, and return those that it reached."""
        answered: defaultdict[SendAnswer, list[Session]] = defaultdict(list)
        failed: defaultdict[str, list[Session]] = defaultdict(list)
        for row in queryset:
            try:
                answered[work(WebsocketSession(row.pk))].append(row)
            except TimeoutError:
                failed[gettext("Its process didn't answer in time.")].append(row)
            except (NodeUnreachable, ConfigurationError) as error:
                failed[str(error)].append(row)
        for answer, outcome, level in (
            (SendAnswer.WRITTEN, done, messages.SUCCESS),
            (SendAnswer.FORWARDED, gettext("Passed on to their processes"), messages.SUCCESS),
            (SendAnswer.GONE, gettext("Were closed already"), messages.INFO),
        ):
            rows = answered[answer]
            self.tell(request, f"{outcome} ({len(rows)})", rows, level)
        unreached = gettext("Can't be reached")
        for why, rows in failed.items():
            outcome = f"{unreached} ({len(rows)}): {named(rows)}. {why}"
            self.message_user(request, outcome, messages.ERROR)
        return answered[SendAnswer.WRITTEN] + answered[SendAnswer.FORWARDED]
