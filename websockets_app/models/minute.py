"""Minutes: counters of one endpoint or client for one minute, for charts."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.db.models import Case, OuterRef, Subquery, When
from django.utils.translation import gettext_lazy as _

from ..core.states import Direction
from . import choices
from .client import Client
from .endpoint import Endpoint
from .primary import PrimaryQuerySet

COUNTERS: Final = (
    "opened",
    "closed",
    "refused",
    "errors",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
)


class MinuteQuerySet(PrimaryQuerySet["Minute"]):
    """Minutes, as nodes write them and people look at them."""

    def put(self, minutes: list[Minute]) -> None:
        """Write `minutes` over what their node wrote before: absolute values, safe to repeat."""
        unique = ["node", "direction", "descriptor", "minute"]
        self.upsert(minutes, unique=unique, update=COUNTERS)

    def with_names(self) -> MinuteQuerySet:
        """Annotate `name`: the endpoint's path or client's name, None once that is deleted."""
        path = Endpoint.objects.filter(pk=OuterRef("descriptor")).values("endpoint")
        name = Client.objects.filter(pk=OuterRef("descriptor")).values("name")
        return self.annotate(
            name=Case(When(direction=Direction.IN, then=Subquery(path)), default=Subquery(name))
        )


class Minute(models.Model):
    """What one node counted for one endpoint or client in one minute.

    A row for each node, holding absolute values: a batch that is written twice changes nothing.
    """

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(
        "Node", models.DO_NOTHING, db_constraint=False, verbose_name=_("node")
    )
    direction = models.CharField(_("direction"), max_length=3, choices=choices.DIRECTION)
    descriptor = models.BigIntegerField(
        _("descriptor"), help_text=_("The key of the endpoint (in) or client (out).")
    )
    minute = models.DateTimeField(_("minute"))
    opened = models.PositiveIntegerField(_("opened"), default=0)
    closed = models.PositiveIntegerField(_("closed"), default=0)
    refused = models.PositiveIntegerField(_("refused"), default=0)
    errors = models.PositiveIntegerField(_("errors"), default=0)
    messages_in = models.BigIntegerField(_("messages in"), default=0)
    messages_out = models.BigIntegerField(_("messages out"), default=0)
    bytes_in = models.BigIntegerField(_("bytes in"), default=0)
    bytes_out = models.BigIntegerField(_("bytes out"), default=0)

    objects = MinuteQuerySet.as_manager()

    class Meta:
        verbose_name = _("minute")
        verbose_name_plural = _("minutes")
        ordering = ("-minute",)
        base_manager_name = "objects"
        constraints = (
            models.UniqueConstraint(
                fields=("node", "direction", "descriptor", "minute"),
                name="websockets_minute_once",
            ),
            choices.one_of("direction", Direction),
        )
        indexes = (
            models.Index(
                fields=("direction", "descriptor", "minute"), name="websockets_minute_of"
            ),
        )

    def __str__(self) -> str:
        return f"{self.direction} {self.descriptor} {self.minute:%Y-%m-%d %H:%M}"
