"""Events: the recorded facts in the life of sessions, clients and nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.states import CloseCause, Direction, EventKind
from . import choices
from .primary import PrimaryQuerySet


class EventQuerySet(PrimaryQuerySet["Event"]):
    """Events, as nodes correct each other's."""

    def revoke_lost(self, peers: Collection[str], node_id: str) -> int:
        """Let other nodes' close events of these peers say only that their node was declared lost.

        The node `node_id` holds or held them, and lives: it records their one close event itself.
        """
        closed = self.filter(peer__in=peers, kind=EventKind.CLOSE, cause=CloseCause.NODE_LOST)
        return closed.exclude(node=node_id).update(kind=EventKind.NODE_LOST)

    def closed(self, peers: models.QuerySet[Any, Any]) -> set[str]:
        """Return those peers whose ids `peers` selects that have their close event."""
        closes = self.filter(peer__in=peers, kind=EventKind.CLOSE)
        return set(closes.values_list("peer", flat=True))


class Event(models.Model):
    """One recorded fact. As many rows as messages may come: each index costs each of them.

    `(peer, node, seq)` is unique, so a batch can be written again; a hole in `seq` is a loss.
    It names endpoint, client and node without a constraint: history outlives them.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("at"))
    kind = models.CharField(_("kind"), max_length=15, choices=choices.EVENT_KIND)
    node = models.ForeignKey(
        "Node",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        verbose_name=_("node"),
    )
    direction = models.CharField(
        _("direction"), max_length=3, choices=choices.DIRECTION, blank=True
    )
    endpoint = models.ForeignKey(
        "Endpoint",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        verbose_name=_("endpoint"),
    )
    client = models.ForeignKey(
        "Client",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        verbose_name=_("client"),
    )
    name = models.CharField(
        _("name"), max_length=200, blank=True, help_text=_("The endpoint's path or client's name.")
    )
    peer = models.CharField(
        _("peer"), max_length=32, blank=True, help_text=_("The session or connection.")
    )
    seq = models.BigIntegerField(_("number"))
    code = models.PositiveSmallIntegerField(_("code"), null=True)
    cause = models.CharField(_("cause"), max_length=15, choices=choices.CLOSE_CAUSE, blank=True)
    detail = models.TextField(_("detail"), blank=True)
    outgoing = models.BooleanField(
        _("outgoing"), null=True, help_text=_("Of a message: whether we sent it.")
    )
    size = models.PositiveIntegerField(_("size"), null=True)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True)
    payload = models.TextField(_("payload"), blank=True)
    lost = models.PositiveIntegerField(
        _("events lost"), null=True, help_text=_("Of a gap: how many events weren't recorded.")
    )

    repeats = models.PositiveIntegerField(
        _("repeats"),
        null=True,
        help_text=_(
            "How many equal refusals or errors this event stands for. The detail is that of one "
            "of them, and the time that of the last."
        ),
    )
    first_at = models.DateTimeField(_("first at"), null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("-id",)
        base_manager_name = "objects"
        constraints = (
            models.UniqueConstraint(fields=("peer", "node", "seq"), name="websockets_event_once"),
            choices.one_of("kind", EventKind, mostly=EventKind.MESSAGE.value),
            choices.one_of("cause", CloseCause, or_empty=True, mostly=""),
            choices.one_of("direction", Direction, or_empty=True, mostly=Direction.IN.value),
        )
        indexes = (
            models.Index(fields=("at",), name="websockets_event_at"),
            *(
                models.Index(
                    fields=(of, "-id"),
                    condition=models.Q((f"{of}__isnull", False)),
                    name=f"websockets_event_{of}",
                )
                for of in ("endpoint", "client")
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
