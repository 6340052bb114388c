"""What runners know of clients, and the lease by which one of them holds each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from ..core.states import ClientState, Failure
from . import choices
from .client import Client
from .primary import PrimaryQuerySet


class ClientRuntimeQuerySet(PrimaryQuerySet["ClientRuntime"]):
    """The runner's own writes: each names holder and epoch, so that a late one hits nothing."""

    def claim(self, client_id: int, node_id: str) -> int | None:
        """Make `node_id` the holder of a client that nobody holds.

        Returns the epoch that every later write must name, or None where somebody was faster.
        """
        claimed = self.filter(client_id=client_id, holder__isnull=True).update(
            holder_id=node_id, epoch=F("epoch") + 1
        )
        if not claimed:
            return None
        return (
            self.filter(client_id=client_id, holder_id=node_id)
            .values_list("epoch", flat=True)
            .get()
        )

    def write(self, client_id: int, node_id: str, epoch: int, **values: Any) -> bool:
        """Write `values` if the lease still stands; tell whether it did.

        Among them `holder_id=None` gives the client back.
        """
        return bool(
            self.filter(client_id=client_id, holder_id=node_id, epoch=epoch).update(**values)
        )

    def lock(self, client_id: int, node_id: str, epoch: int) -> bool:
        """Keep the lease as it is until the transaction ends; False where it no longer stands."""
        held = self.filter(client_id=client_id, holder_id=node_id, epoch=epoch)
        return held.select_for_update().values_list("pk", flat=True).first() is not None

    def release_all_of(self, node_id: str, reason: str, at: datetime) -> int:
        """Give back everything that `node_id` holds; return how many clients that were.

        An ephemeral client was one connection, which is gone: nobody opens another for it.
        """
        held = self.filter(holder_id=node_id)
        released = {
            "holder_id": None, "epoch": F("epoch") + 1, "reason": reason, "since": at,
            "next_attempt_at": None, "opened_at": None, "ready_at": None,
        }  # fmt: skip
        ended = held.filter(client__ephemeral=True).update(
            state=ClientState.STOPPED, failure=Failure.OTHER, ended_at=at, **released
        )
        return ended + held.update(state=ClientState.UNASSIGNED, **released)

    def held_by(self, node_id: str) -> dict[int, int]:
        """Return the epochs of the clients that `node_id` holds, by client."""
        return dict(self.filter(holder_id=node_id).values_list("client_id", "epoch"))

    def claimable(self, client_ids: list[int], now: datetime) -> list[int]:
        """Return those of `client_ids` that nobody holds, and that are still wanted."""
        free = self.filter(client_id__in=client_ids, holder__isnull=True)
        over = Q(ended_at__isnull=False) | Q(awaited_until__lte=now)
        wanted = free.exclude(over, client__ephemeral=True)
        return list(wanted.values_list("client_id", flat=True))


class ClientRuntime(models.Model):
    """What the runner knows of a client; written by runners only."""

    client = models.OneToOneField(
        Client, models.CASCADE, primary_key=True, related_name="runtime", verbose_name=_("client")
    )
    state = models.CharField(
        _("state"),
        max_length=12,
        choices=choices.CLIENT_STATE,
        default=ClientState.UNASSIGNED.value,
    )
    reason = models.TextField(_("reason"), blank=True)
    since = models.DateTimeField(_("since"), null=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    opened_at = models.DateTimeField(_("opened at"), null=True)
    ready_at = models.DateTimeField(
        _("ready at"),
        null=True,
        help_text=_("When on_open had run; from then on, messages go out."),
    )
    failure = models.CharField(
        _("failure"),
        max_length=12,
        choices=choices.FAILURE,
        blank=True,
        help_text=_("What kept the last attempt from opening."),
    )
    awaited_until = models.DateTimeField(
        _("awaited until"), null=True, help_text=_("Until then, its creator waits for it to open.")
    )
    returned = models.PositiveIntegerField(
        _("returned"),
        default=0,
        help_text=_("How many calls of create_websocket have returned the client."),
    )
    ended_at = models.DateTimeField(
        _("ended at"), null=True, help_text=_("Of an ephemeral client: it is about to be deleted.")
    )
    connection_id = models.CharField(_("connection"), max_length=32, blank=True)
    subprotocol = models.CharField(_("subprotocol"), max_length=100, blank=True)
    messages_in = models.BigIntegerField(_("messages in"), default=0)
    messages_out = models.BigIntegerField(_("messages out"), default=0)
    holder = models.ForeignKey(
        "Node",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="held",
        verbose_name=_("runner"),
    )
    epoch = models.BigIntegerField(_("epoch"), default=0)

    objects = ClientRuntimeQuerySet.as_manager()

    class Meta:
        verbose_name = _("client's runtime")
        verbose_name_plural = _("clients' runtimes")
        base_manager_name = "objects"
        constraints = (
            choices.one_of("state", ClientState),
            choices.one_of("failure", Failure, or_empty=True),
        )
        indexes = (models.Index(fields=("state",), name="websockets_runtime_state"),)

    def __str__(self) -> str:
        return f"{self.client_id}: {self.state}"
