"""The outbox: messages on their way to clients' peers, to be sent again or given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from django.contrib import admin, messages
from django.db.models import Case, Count, QuerySet, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..core.redaction import REDACTED
from ..core.states import OutboxStatus
from ..models import Client, OutboxMessage
from ..models.choices import OUTBOX_STATUS
from ..models.outbox import OutboxQuerySet
from ..redaction import redactor
from .base import ReadOnlyAdmin, Tool, badge, changelist_url, cut, exact_time
from .filters import ClientFilter

KINDS: Final = {"text": _("text"), "binary": _("binary"), "close": _("close")}
KIND: Final = Case(
    When(close_code__isnull=False, then=Value("close")),
    When(text__isnull=False, then=Value("text")),
    default=Value("binary"),
)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin[OutboxMessage]):
    """Messages, the latest first."""

    list_display = (
        "short_id",
        "client",
        "kind",
        "status_and_reason",
        "attempts",
        "queued_and_expires",
    )
    list_filter = ("status", ClientFilter)
    list_select_related = ("client",)
    search_fields = ("message_id__exact", "client__name__exact")
    actions = ("send_again", "give_up")
    fields = (
        "message_id",
        "client",
        "kind",
        "shown_status",
        "reason",
        "content",
        "attempts",
        "queued_at",
        "expires_at",
        "claimed_at",
        "written_at",
        "ended_at",
        "epoch",
    )

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may decide about messages, whose rows nobody edits."""
        return request.user.has_perm("websockets_app.change_outboxmessage")

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxMessage]:
        # No content: a page reads it when it shows it.
        rows = super().get_queryset(request).annotate(kind=KIND).select_related("client")
        return rows.defer("text", "binary")

    def note_of(self, obj: OutboxMessage) -> str:
        if obj.status != OutboxStatus.UNCERTAIN:
            return ""
        return gettext(
            "Nobody knows whether the peer received this message. If it is sent again, the peer "
            "may get it twice."
        )

    def tools_of(self, obj: OutboxMessage) -> Iterable[Tool]:
        message = OutboxMessage.objects.filter(pk=obj.pk)
        if message.resendable().exists():
            yield Tool("send_again", _("Send again"))
        if message.discardable().exists():
            yield Tool("give_up", _("Give up"))

    @admin.display(description=_("kind"))
    def kind(self, obj: OutboxMessage) -> str:
        return str(KINDS[getattr(obj, "kind", "")])

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, obj: OutboxMessage) -> str:
        return badge(obj.status, obj.get_status_display())

    @admin.display(description=_("status, reason"), ordering="status")
    def status_and_reason(self, obj: OutboxMessage) -> str:
        return format_html("{}<br><small>{}</small>", self.shown_status(obj), cut(obj.reason))

    @admin.display(description=_("message"))
    def short_id(self, obj: OutboxMessage) -> str:
        return str(obj.message_id)[:8]

    @admin.display(description=_("queued, expires"), ordering="id")
    def queued_and_expires(self, obj: OutboxMessage) -> str:
        queued, expires = exact_time(obj.queued_at), exact_time(obj.expires_at)
        return format_html("{}<br><small>{}</small>", queued, expires)

    @admin.display(description=_("content"))
    def content(self, obj: OutboxMessage) -> str:
        return format_html('<pre class="websockets-text">{}</pre>', _content(obj))

    @admin.action(
        permissions=["steer"],
        description=_("Send selected messages again (an uncertain one may come twice)"),
    )
    def send_again(self, request: HttpRequest, queryset: OutboxQuerySet) -> None:
        self._decide(
            request, queryset, OutboxQuerySet.resendable, OutboxQuerySet.resend,
            done=gettext("Queued again"), record=gettext("Queued the message again."),
            idle=gettext("Not to be sent again: neither uncertain, expired nor dead, or a close"),
        )  # fmt: skip

    @admin.action(
        permissions=["steer"],
        description=_("Give selected messages up"),
    )
    def give_up(self, request: HttpRequest, queryset: OutboxQuerySet) -> None:
        self._decide(
            request, queryset, OutboxQuerySet.discardable, _give_up,
            done=gettext("Given up"), record=gettext("Gave the message up."),
            idle=gettext("Not to be given up: neither queued nor uncertain"),
        )  # fmt: skip

    def _decide(
        self,
        request: HttpRequest,
        queryset: OutboxQuerySet,
        choose: Callable[[OutboxQuerySet], OutboxQuerySet],
        verb: Callable[[OutboxQuerySet], int],
        *,
        done: str,
        record: str,
        idle: str,
    ) -> None:
        """Apply `verb` to those that it may `choose`; record and tell which those were."""
        rows = list(queryset)
        asked = OutboxMessage.objects.filter(pk__in=[row.pk for row in rows])
        with asked.atomic():
            keys = set(choose(asked).select_for_update().values_list("pk", flat=True))
            verb(asked.filter(pk__in=keys))
            changed = [row for row in rows if row.pk in keys]
            self.record_change(request, changed, record)
        self.tell(request, done, changed, messages.SUCCESS)
        self.tell(request, idle, [row for row in rows if row.pk not in keys], messages.INFO)


def backlog_of(client: Client) -> SafeString:
    """Return by status how many of a client's messages haven't arrived, with links to them."""
    # Named one by one, so that an index leads past the acknowledged ones: they may be many.
    left = dict(OUTBOX_STATUS)
    del left[OutboxStatus.ACKNOWLEDGED]
    rows = OutboxMessage.objects.filter(client=client, status__in=left).order_by()
    counts = dict(rows.values_list("status").annotate(Count("pk")))
    all_ = {"client": str(client.pk)}
    shown = [
        (changelist_url(OutboxMessage, all_ | {"status__exact": status}),
         badge(status, label), counts[status])
        for status, label in left.items() if status in counts
    ]  # fmt: skip
    return format_html(
        '{} <a href="{}">{}</a>',
        format_html_join("", '<a href="{}">{} {}</a> · ', shown),
        changelist_url(OutboxMessage, all_),
        _("all messages"),
    )


def _content(message: OutboxMessage) -> str:
    if message.close_code is not None:
        cause = message.get_close_cause_display()
        told = f"{message.close_code} {message.close_reason}".rstrip()
        return f"{told} ({cause})" if cause else told
    if message.text is not None:
        return redactor().payload(message.text)
    shown = redactor().binary_payload(bytes(message.binary or b""))
    return REDACTED if shown is None else shown.hex(" ")


def _give_up(chosen: OutboxQuerySet) -> int:
    return chosen.discard(timezone.now(), "given up by an operator")
