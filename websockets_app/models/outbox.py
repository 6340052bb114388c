"""The outbox: messages to be sent by clients, committed before `send()` returns.

Of one client they go out in the order of their ids. A number is drawn when a row is inserted, so a
sender's own are in order; a sender that commits later than one with a higher number is late, and
loses nothing, since what is looked for is the status and never "what came after".
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from ..core.states import OnUncertain, OutboxStatus, outbox_statuses_before
from ..signals import outbox_filled
from . import choices
from .client import Client

MOST_ATTEMPTS: Final = 5
"""So many connections may break on one message before it is given up."""
UNSURE: Final = (
    "it may have arrived: the connection broke, or its runner ended, before a pong came"
)


class Claimed(NamedTuple):
    """A message that is a runner's to send, or the end that follows the messages before it."""

    id: int
    message_id: uuid.UUID
    text: str | None
    binary: bytes | None
    close_code: int | None
    close_reason: str


class OutboxQuerySet(models.QuerySet["OutboxMessage"]):
    """The outbox' verbs: each write names where a message must stand for it, and under whom."""

    # A sender's

    def put(self, client_id: int, **content: Any) -> uuid.UUID:
        """Add a message (`text`, `binary` or `close_code`) in the caller's transaction."""
        message = self.create(client_id=client_id, **content)
        announce_after_commit(self.db)
        return message.message_id

    # A runner's

    def waiting_of(self, client_ids: Collection[int]) -> set[int]:
        """Return those of `client_ids` for whom something is queued."""
        queued = self.filter(client=OuterRef("pk"), status=OutboxStatus.QUEUED)
        clients = Client.objects.filter(Exists(queued), pk__in=client_ids)
        return set(clients.values_list("pk", flat=True))

    def closing_of(self, client_ids: Collection[int]) -> set[int]:
        """Return those of `client_ids` whose oldest queued message is a close."""
        queued = self.filter(client=OuterRef("pk"), status=OutboxStatus.QUEUED).order_by("id")
        clients = Client.objects.filter(pk__in=client_ids).annotate(
            next_close=Subquery(queued.values("close_code")[:1])
        )
        return set(clients.filter(next_close__isnull=False).values_list("pk", flat=True))

    def claim(self, client_id: int, epoch: int, most: int, now: datetime) -> list[Claimed]:
        """Claim the oldest messages of a client, `most` of them, as far as they haven't expired.

        Nothing is claimed beyond a close. The caller holds the lock of the client's lease.
        """
        queued = self.filter(client_id=client_id, status=OutboxStatus.QUEUED).order_by("id")
        oldest = list(queued.values_list("expires_at", *Claimed._fields)[:most])
        late = {row[1] for row in oldest if row[0] is not None and row[0] <= now}
        if late:
            self.filter(pk__in=late).expire(now)
        claimed = _up_to_a_close([Claimed(*row[1:]) for row in oldest if row[1] not in late])
        if claimed:
            self.filter(pk__in=[message.id for message in claimed])._move(
                OutboxStatus.CLAIMED, epoch=epoch, claimed_at=now, attempts=F("attempts") + 1
            )
        return claimed

    def written(self, ids: Sequence[int], epoch: int, at: datetime) -> int:
        """Note that messages were handed to the socket."""
        return self._of(ids, epoch)._move(OutboxStatus.WRITTEN, written_at=at)

    def acknowledge(
        self, ids: Sequence[int], epoch: int, written_at: datetime, at: datetime
    ) -> int:
        """Note that a pong came for a ping that was sent after these messages."""
        return self._of(ids, epoch)._move(
            OutboxStatus.ACKNOWLEDGED,
            written_at=Coalesce("written_at", written_at),
            ended_at=at,
            reason="",
        )

    def put_back(self, client_id: int, epoch: int, *, except_for: Collection[int]) -> int:
        """Queue again what was claimed under `epoch` and not written, as those excepted may be."""
        claimed = self.filter(client_id=client_id, epoch=epoch, status=OutboxStatus.CLAIMED)
        return claimed.exclude(pk__in=except_for)._move(
            OutboxStatus.QUEUED, epoch=None, claimed_at=None, attempts=F("attempts") - 1
        )

    def fail(self, ids: Sequence[int], epoch: int, at: datetime, reason: str) -> int:
        """Give up messages that can't be sent."""
        return self._of(ids, epoch)._move(OutboxStatus.DEAD, ended_at=at, reason=reason)

    def doubt(self, client_id: int, on_uncertain: str, at: datetime) -> int:
        """Decide about a client's messages that were on their way when a connection ended.

        Returns how many are uncertain now, or were given up.
        """
        open_ = self.filter(
            client_id=client_id, status__in=(OutboxStatus.CLAIMED, OutboxStatus.WRITTEN)
        )
        open_.filter(close_code__isnull=False)._requeue()  # to close twice does no harm
        if on_uncertain == OnUncertain.HOLD:
            return open_._move(OutboxStatus.UNCERTAIN, ended_at=at, reason=UNSURE)
        reason = f"{MOST_ATTEMPTS} connections broke while it was on its way"
        dead = open_.filter(attempts__gte=MOST_ATTEMPTS)._move(
            OutboxStatus.DEAD, ended_at=at, reason=reason
        )
        open_._requeue(reason="sent again: the connection broke before a pong came")
        return dead

    def expire(self, now: datetime) -> int:
        """End what has waited for longer than it may."""
        late = self.filter(status=OutboxStatus.QUEUED, expires_at__lte=now)
        if not late.exists():  # which takes no lock
            return 0
        return late._move(OutboxStatus.EXPIRED, ended_at=now, reason="it waited for too long")

    # A person's

    def resendable(self) -> OutboxQuerySet:
        """Return what `resend()` queues: no close, which was about a connection that is gone."""
        again = (OutboxStatus.UNCERTAIN, OutboxStatus.EXPIRED, OutboxStatus.DEAD)
        return self.filter(status__in=again, close_code__isnull=True)

    def discardable(self) -> OutboxQuerySet:
        """Return what `discard()` gives up."""
        return self.filter(status__in=(OutboxStatus.QUEUED, OutboxStatus.UNCERTAIN))

    def resend(self) -> int:
        """Queue what is uncertain, expired or dead again, before what is younger; return how many.

        It doesn't expire any more. The peer may get an uncertain message twice.
        """
        queued = self.resendable()._requeue(
            reason="sent again by an operator", attempts=0, expires_at=None
        )
        announce_after_commit(self.db)
        return queued

    def discard(self, at: datetime, reason: str) -> int:
        """Give up what is queued or uncertain; return how many."""
        return self.discardable()._move(OutboxStatus.DEAD, ended_at=at, reason=reason)

    # Steps

    def _of(self, ids: Sequence[int], epoch: int) -> OutboxQuerySet:
        return self.filter(pk__in=ids, epoch=epoch)

    def _requeue(self, **values: Any) -> int:
        return self._move(
            OutboxStatus.QUEUED,
            epoch=None,
            claimed_at=None,
            written_at=None,
            ended_at=None,
            **values,
        )

    def _move(self, status: OutboxStatus, **values: Any) -> int:
        """Write `status` where the state machine allows it."""
        there = self.filter(status__in=outbox_statuses_before(status))
        return there.update(status=status, **values)


class OutboxMessage(models.Model):
    """One message on its way to a client's peer, or the close that follows those before it."""

    id = models.BigAutoField(primary_key=True)
    client = models.ForeignKey(Client, models.CASCADE, verbose_name=_("client"))
    message_id = models.UUIDField(_("message"), default=uuid.uuid4, unique=True, editable=False)
    text = models.TextField(_("text"), null=True)  # noqa: DJ001 - NULL: it is something else
    binary = models.BinaryField(_("binary"), null=True)
    close_code = models.PositiveSmallIntegerField(
        _("close code"), null=True, help_text=_("It closes the connection, and the client ends.")
    )
    close_reason = models.CharField(_("close reason"), max_length=123, blank=True)
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
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    claimed_at = models.DateTimeField(_("claimed at"), null=True)
    written_at = models.DateTimeField(_("written at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)
    reason = models.TextField(_("reason"), blank=True)

    objects = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        ordering = ("-id",)
        constraints = (
            choices.one_of("status", OutboxStatus),
            models.CheckConstraint(
                condition=(
                    Q(text__isnull=False, binary__isnull=True, close_code__isnull=True)
                    | Q(text__isnull=True, binary__isnull=False, close_code__isnull=True)
                    | Q(text__isnull=True, binary__isnull=True, close_code__isnull=False)
                ),
                name="websockets_outbox_one_content",
            ),
        )
        indexes = (
            models.Index(fields=("client", "status", "id"), name="websockets_outbox_next"),
            models.Index(fields=("status", "expires_at"), name="websockets_outbox_expiry"),
        )

    def __str__(self) -> str:
        return f"{self.client}: {self.message_id}"


def announce_after_commit(using: str) -> None:
    """Tell the runners, once what was queued is committed, that they need not wait."""
    transaction.on_commit(_announce, using=using, robust=True)


def _announce() -> None:
    outbox_filled.send_robust(sender=OutboxMessage)


def _up_to_a_close(messages: list[Claimed]) -> list[Claimed]:
    for index, message in enumerate(messages):
        if message.close_code is not None:
            return messages[: index + 1]
    return messages
