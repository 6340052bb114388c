"""Nodes: the processes that hold sessions or clients, and the lease each renews."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, OuterRef, functions
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..conf import app_settings
from ..core.states import NodeKind, NodeState
from ..core.text import tame
from . import choices
from .load_error import LoadError
from .primary import PrimaryQuerySet
from .runtime import ClientRuntime
from .session import Session


class Now(functions.Now):
    """The database's clock, in the time zone of the rows.

    SQLite's tells UTC, which a site without time zones doesn't keep. That of MySQL and MariaDB
    tells the server's time zone, which may be any.
    """

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, Any]:
        if settings.USE_TZ:
            return super().as_sqlite(compiler, connection, **extra)
        local = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', 'localtime')"
        return self.as_sql(compiler, connection, template=local, **extra)

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, Any]:
        zone = connection.timezone if settings.USE_TZ else timezone.get_default_timezone()
        offset = datetime.now(zone).utcoffset() or timedelta()
        template = f"(UTC_TIMESTAMP(6) + INTERVAL {offset // timedelta(seconds=1)} SECOND)"
        return self.as_sql(compiler, connection, template=template, **extra)


class NodeQuerySet(PrimaryQuerySet["Node"]):
    """A lease's verbs: the database's clock, the holder in the WHERE, the row count decides."""

    def register(self, node_id: str, kind: NodeKind, **about: Any) -> None:
        """Make the row of a node that starts."""
        self.create(id=node_id, kind=kind, started_at=Now(), renewed_at=Now(), **about)

    def renew(self, node_id: str, **about: Any) -> bool:
        """Renew a living node's lease; False where it was reaped meanwhile."""
        alive = self.filter(pk=node_id, state=NodeState.ALIVE)
        return bool(alive.update(beat=F("beat") + 1, renewed_at=Now(), **about))

    def revive(self, node_id: str, **about: Any) -> bool:
        """Take the lease of a node that was reaped and lives; False where its row is gone."""
        return bool(
            self.filter(pk=node_id).update(
                state=NodeState.ALIVE,
                stopped_at=None,
                beat=F("beat") + 1,
                renewed_at=Now(),
                **about,
            )
        )

    def stop(self, node_id: str) -> bool:
        """Give a node's lease back."""
        return self._end(self.filter(pk=node_id), NodeState.STOPPED)

    def reap(self, node_id: str, beat: int) -> bool:
        """Declare a node lost whose lease still stands at `beat`; False where it moved."""
        unmoved = self.filter(pk=node_id, beat=beat)
        return self._end(unmoved, NodeState.LOST, reaped=F("reaped") + 1)

    def lock_if_reaped(self, node_id: str) -> bool:
        """Tell whether the node was ever declared lost; it can't be until the transaction ends."""
        row = self.select_for_update().filter(pk=node_id)
        return bool(row.values_list("reaped", flat=True).first())

    def _end(self, node: NodeQuerySet, state: NodeState, **columns: Any) -> bool:
        """End a living node's lease; what it reported of itself ends with it."""
        alive = node.filter(state=NodeState.ALIVE)
        columns |= {"stuck_callbacks": 0, "waiting_callbacks": 0}
        if not alive.update(state=state, stopped_at=Now(), **columns):
            return False
        LoadError.objects.filter(node__in=node.values("pk")).delete()
        return True

    def live(self) -> NodeQuerySet:
        """Return the nodes that have renewed their lease within `NODE_TTL`."""
        ttl = timedelta(seconds=app_settings.NODE_TTL)
        return self.filter(state=NodeState.ALIVE, renewed_at__gt=Now() - ttl)

    def with_load(self) -> NodeQuerySet:
        """Annotate `open_sessions` and `held_clients`, what each holds now."""
        open_here = Session.objects.open().filter(node=OuterRef("pk"))
        held_here = ClientRuntime.objects.filter(holder=OuterRef("pk"))
        return self.annotate(
            open_sessions=_number(open_here, "node"), held_clients=_number(held_here, "holder")
        )

    def beats(self) -> dict[str, int]:
        """Return how often each living node's lease was renewed."""
        return dict(self.filter(state=NodeState.ALIVE).values_list("pk", "beat"))

    def channels(self, node_ids: list[str]) -> list[str]:
        """Return the channels of these nodes, as far as they have one."""
        known = self.filter(pk__in=node_ids).exclude(channel="")
        return list(known.values_list("channel", flat=True))

    def add_lost_mail(self, channel: str, number: int) -> int:
        """Count messages that never arrived at the node that had this channel."""
        return self.filter(channel=channel).update(mail_lost=F("mail_lost") + number)

    def serve_beside(self, node_id: str) -> bool:
        """Tell whether a server node lives besides this one."""
        servers = self.filter(state=NodeState.ALIVE, kind=NodeKind.SERVER)
        return servers.exclude(pk=node_id).exists()


def _number(rows: models.QuerySet[Any], of: str) -> Coalesce:
    counted = rows.order_by().values(of).annotate(n=models.Count("pk"))
    return Coalesce(models.Subquery(counted.values("n")), 0)


class Node(models.Model):
    """One running process and event loop that holds sessions or clients."""

    id = models.CharField(_("node"), max_length=32, primary_key=True)
    kind = models.CharField(_("kind"), max_length=10, choices=choices.NODE_KIND)
    state = models.CharField(
        _("state"), max_length=10, choices=choices.NODE_STATE, default=NodeState.ALIVE.value
    )
    hostname = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    server = models.CharField(_("server"), max_length=100, blank=True)
    started_at = models.DateTimeField(_("started at"))
    renewed_at = models.DateTimeField(_("renewed at"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True)
    beat = models.BigIntegerField(_("beat"), default=0)
    reaped = models.PositiveIntegerField(
        _("declared lost"),
        default=0,
        help_text=_("How often; a node that is lost and lives after all goes on."),
    )
    channel = models.CharField(
        _("channel"), max_length=100, blank=True, help_text=_("In the channel layer.")
    )
    mail_lost = models.BigIntegerField(
        _("messages lost"),
        default=0,
        help_text=_("Sent by other processes, and never arrived here."),
    )
    mail_dropped = models.BigIntegerField(
        _("messages dropped"),
        default=0,
        help_text=_("What arrived over the channel layer and wasn't a node's."),
    )
    stuck_callbacks = models.PositiveIntegerField(
        _("stuck callbacks"),
        default=0,
        help_text=_("Still running although their session ended more than 10 seconds ago."),
    )
    waiting_callbacks = models.PositiveIntegerField(
        _("waiting callbacks"),
        default=0,
        help_text=_(
            "Waiting because all threads for sync callbacks are busy, for 10 seconds now."
        ),
    )

    objects = NodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        ordering = ("-started_at",)
        base_manager_name = "objects"
        constraints = (choices.one_of("kind", NodeKind), choices.one_of("state", NodeState))
        indexes = (models.Index(fields=("state",), name="websockets_node_state"),)

    def __str__(self) -> str:
        return tame(f"{self.hostname}:{self.pid} ({self.id[:8]})")
