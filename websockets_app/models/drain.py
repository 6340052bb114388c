"""Drains: nodes that are asked to close their sessions over a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.close_codes import MAX_REASON_BYTES, CloseCode
from ..core.states import DrainState, NodeState
from . import choices
from .node import Node, Now
from .primary import PrimaryQuerySet

FRESH: Final = timedelta(seconds=60)
"""So long after it was asked for does a drain begin at most: later nobody may want it any more."""


class DrainQuerySet(PrimaryQuerySet["Drain"]):
    """Of a drain two write: who asks may cancel it, and the node tells how far it has come."""

    def ask(self, node_ids: Iterable[str], **order: Any) -> list[int]:
        """Ask nodes to drain, which replaces what they were asked before; return the keys."""
        with self.atomic():
            asked = list(node_ids)
            replaced = models.Q(node__in=asked) | ~models.Q(node__state=NodeState.ALIVE)
            self.filter(replaced).delete()
            return [self.create(node_id=key, asked_at=Now(), **order).pk for key in asked]

    def take(self, node_id: str, after: int) -> Drain | None:
        """Return what the node was asked for since the drain `after`, and say that it begins."""
        wanted = self.filter(node=node_id, pk__gt=after).exclude(state=DrainState.CANCELLED)
        found: Any = wanted.annotate(now=Now()).order_by("-pk").first()
        if found is None or found.now - found.asked_at > FRESH:
            return None
        return found if self.tell(found.pk, state=DrainState.RUNNING) else None

    def tell(self, key: int, **columns: Any) -> bool:
        """Write how far a drain has come; False where nobody wants it any more."""
        return bool(self.filter(pk=key).exclude(state=DrainState.CANCELLED).update(**columns))

    def cancel(self, keys: Collection[int]) -> int:
        """Let nodes stop draining, and admit everybody again; return how many were asked to."""
        return (
            self.filter(pk__in=keys)
            .exclude(state=DrainState.CANCELLED)
            .update(state=DrainState.CANCELLED)
        )


class Drain(models.Model):
    """What a node is asked to close over a time, and how far it has come."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, models.DO_NOTHING, db_constraint=False, verbose_name=_("node"))
    asked_at = models.DateTimeField(_("asked at"))
    seconds = models.FloatField(_("seconds"), help_text=_("Over which the sessions close."))
    keep_out = models.FloatField(
        _("keep out"),
        null=True,
        help_text=_("Seconds after it for which nobody new is admitted, nor during it."),
    )
    endpoints = models.JSONField(
        _("endpoints"), default=list, help_text=_("Whose sessions alone; empty: all.")
    )
    code = models.PositiveSmallIntegerField(
        _("close code"), default=CloseCode.SERVICE_RESTART.value
    )
    reason = models.CharField(_("close reason"), max_length=MAX_REASON_BYTES, blank=True)
    state = models.CharField(
        _("state"), max_length=10, choices=choices.DRAIN_STATE, default=DrainState.ASKED.value
    )
    found = models.PositiveIntegerField(
        _("sessions"), default=0, help_text=_("Open when it began.")
    )
    closed = models.PositiveIntegerField(_("closed"), default=0)
    gone = models.PositiveIntegerField(
        _("gone"), default=0, help_text=_("Ended by themselves meanwhile.")
    )

    objects = DrainQuerySet.as_manager()

    class Meta:
        verbose_name = _("drain")
        verbose_name_plural = _("drains")
        ordering = ("-id",)
        base_manager_name = "objects"
        constraints = (choices.one_of("state", DrainState),)

    def __str__(self) -> str:
        return f"{self.node_id} over {self.seconds:g} s: {self.state}"

    def concerns(self, endpoint: str) -> bool:
        """Tell whether it is about the sessions of `endpoint`, a path."""
        return not self.endpoints or endpoint in self.endpoints
