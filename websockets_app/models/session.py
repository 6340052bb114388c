"""Sessions: open inbound connections, and the history of those that were."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.states import CloseCause
from . import choices
from .fields import ExactCharField
from .primary import PrimaryQuerySet


class SessionQuerySet(PrimaryQuerySet["Session"]):
    """Sessions, as nodes close them and people ask for them."""

    def open(self) -> SessionQuerySet:
        """Return the sessions that are open now."""
        return self.filter(closed_at__isnull=True)

    def of_node(self, node_id: str) -> SessionQuerySet:
        """Return the sessions that `node_id` holds or held."""
        return self.filter(node_id=node_id)

    def close_lost(self, node_id: str, at: datetime, code: int) -> int:
        """Close the open sessions of a lost node; return how many there were."""
        return (
            self.open()
            .of_node(node_id)
            .update(closed_at=at, close_code=code, close_cause=CloseCause.NODE_LOST)
        )


class Session(models.Model):
    """One inbound connection.

    It names its endpoint and node without a constraint in the database: history outlives them.
    """

    id = models.CharField(_("session"), max_length=32, primary_key=True)
    endpoint = models.ForeignKey(
        "Endpoint", models.DO_NOTHING, null=True, db_constraint=False, verbose_name=_("endpoint")
    )
    endpoint_path = ExactCharField(_("endpoint's path"), max_length=200)
    handler = models.CharField(_("handler"), max_length=255)
    node = models.ForeignKey(
        "Node", models.DO_NOTHING, null=True, db_constraint=False, verbose_name=_("node")
    )
    path = models.TextField(_("path"))
    params = models.JSONField(_("params"), default=dict)
    user_key = ExactCharField(_("user's key"), max_length=64, blank=True)
    username = models.CharField(_("user"), max_length=254, blank=True)
    address = models.CharField(_("address"), max_length=64, blank=True)
    address_group = models.CharField(
        _("counted as"),
        max_length=64,
        blank=True,
        help_text=_("What limits by address count: the address, or the /64 network of IPv6."),
    )
    origin = models.CharField(_("origin"), max_length=255, blank=True)
    subprotocol = models.CharField(_("subprotocol"), max_length=100, blank=True)
    opened_at = models.DateTimeField(_("opened at"))
    closed_at = models.DateTimeField(_("closed at"), null=True)
    close_code = models.PositiveSmallIntegerField(
        _("close code"), null=True, help_text=_("What was meant.")
    )
    close_code_sent = models.PositiveSmallIntegerField(
        _("close code sent"), null=True, help_text=_("What the server put on the wire.")
    )
    close_reason = models.CharField(_("close reason"), max_length=123, blank=True)
    close_cause = models.CharField(
        _("close cause"), max_length=15, choices=choices.CLOSE_CAUSE, blank=True
    )
    messages_in = models.BigIntegerField(_("messages in"), default=0)
    messages_out = models.BigIntegerField(_("messages out"), default=0)
    bytes_in = models.BigIntegerField(_("bytes in"), default=0)
    bytes_out = models.BigIntegerField(_("bytes out"), default=0)

    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ("-opened_at",)
        base_manager_name = "objects"
        constraints = (
            choices.one_of("close_cause", CloseCause, or_empty=True),
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True, close_cause="")
                | models.Q(closed_at__isnull=False) & ~models.Q(close_cause=""),
                name="websockets_session_closed_with_cause",
            ),
        )
        indexes = (
            models.Index(
                fields=("node",),
                condition=models.Q(closed_at__isnull=True),
                name="websockets_session_open",
            ),
            models.Index(fields=("endpoint", "closed_at"), name="websockets_session_endpoint"),
            *(
                models.Index(
                    fields=("endpoint", column),
                    condition=models.Q(closed_at__isnull=True),
                    name=f"websockets_session_{name}",
                )
                for name, column in (("user_key", "user_key"), ("address", "address_group"))
            ),
            models.Index(fields=("-opened_at",), name="websockets_session_opened"),
        )

    def __str__(self) -> str:
        return f"{self.endpoint_path} ({self.id[:8]})"

    @property
    def is_open(self) -> bool:
        """Whether the session is open, as far as its node has told."""
        return self.closed_at is None
