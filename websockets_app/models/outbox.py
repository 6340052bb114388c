"""The outbox: messages to be sent by clients, committed before `send()` returns."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.states import OutboxStatus
from . import choices
from .client import Client


class OutboxMessage(models.Model):
    """One message on its way to a client's peer."""

    id = models.BigAutoField(primary_key=True)
    client = models.ForeignKey(Client, models.CASCADE, verbose_name=_("client"))
    message_id = models.UUIDField(_("message"), default=uuid.uuid4, unique=True, editable=False)
    text = models.TextField(_("text"), null=True)  # noqa: DJ001 - NULL: the message is binary
    binary = models.BinaryField(_("binary"), null=True)
    status = models.CharField(
        _("status"),
        max_length=15,
        choices=choices.OUTBOX_STATUS,
        default=OutboxStatus.QUEUED.value,
    )
    queued_at = models.DateTimeField(_("queued at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True)
    epoch = models.BigIntegerField(
        _("epoch"), null=True, help_text=_("Of the lease under which it was claimed.")
    )
    claimed_at = models.DateTimeField(_("claimed at"), null=True)
    written_at = models.DateTimeField(_("written at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)
    reason = models.TextField(_("reason"), blank=True)

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        ordering = ("-id",)
        constraints = (
            choices.one_of("status", OutboxStatus),
            models.CheckConstraint(
                condition=models.Q(text__isnull=True) ^ models.Q(binary__isnull=True),
                name="websockets_outbox_text_or_binary",
            ),
        )
        indexes = (
            models.Index(fields=("client", "status", "id"), name="websockets_outbox_next"),
            models.Index(fields=("status", "expires_at"), name="websockets_outbox_expiry"),
        )

    def __str__(self) -> str:
        return f"{self.client_id}: {self.message_id}"
