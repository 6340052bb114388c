"""The outbox: messages to be sent by clients, committed before `send()` returns.

Of one client they go out in the order of their ids. A number is drawn when a row is inserted, so a
sender's own are in order; a sender that commits later than one with a higher number is late, and
loses nothing, since what is looked for is the status and never "what came after".
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Length
from django.utils.translation import gettext_lazy as _

from ..core.states import CloseCause, OnUncertain, OutboxStatus, outbox_statuses_before
from ..signals import outbox_filled
from . import choices
from .client import Client
from .primary import PrimaryQuerySet

MOST_ATTEMPTS: Final = 10
"""So many connections may break with one message in front before it is given up."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""So much is claimed at a time, or one message that is larger."""
UNSETTLED: Final = (OutboxStatus.QUEUED, OutboxStatus.CLAIMED, OutboxStatus.WRITTEN)
"""What a message is before anybody can say what became of it."""
UNSURE: Final = (
    "it may have arrived: the connection broke, or its runner ended, before a pong came"
)
GIVEN_UP: Final = f"{MOST_ATTEMPTS} connections broke while it was the first on its way"


class Claimed(NamedTuple):
    """A message that is a runner's to send, or the end that follows the messages before it."""

    id: int
    message_id: uuid.UUID
    text: str | None
    binary: bytes | None
    close_code: int | None
    close_reason: str
    close_cause: str


class OutboxQuerySet(PrimaryQuerySet["OutboxMessage"]):
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
        """Return those of `client_ids` for whom a close is queued, and nothing else before it."""
        unsent = self.filter(client=OuterRef("pk"), status__in=UNSETTLED).order_by("id")
        clients = Client.objects.filter(pk__in=client_ids).annotate(
            next_close=Subquery(unsent.values("close_code")[:1])
        )
        return set(clients.filter(next_close__isnull=False).values_list("pk", flat=True))

    def claim(self, client_id: int, epoch: int, most: int, now: datetime) -> list[Claimed]:
        """Claim the oldest messages of a client, `most` of them or `MOST_BYTES`.

        Nothing is claimed beyond a close. The caller holds the lock of the client's lease.
        """
        of_client = self.filter(client_id=client_id)
        of_client.expire(now)
        queued = of_client.filter(status=OutboxStatus.QUEUED).order_by("id")
        size = Coalesce(Length("text"), 0) + Coalesce(Length("binary"), 0)
        ids = _as_many_as_fit(queued.values_list("id", size, "close_code")[:most])
        if not ids:
            return []
        self.filter(pk__in=ids)._move(
            OutboxStatus.CLAIMED, epoch=epoch, claimed_at=now, attempts=F("attempts") + 1
        )
        # Read after the write: whoever discarded one in between was faster.
        claimed = self._of(ids, epoch).filter(status=OutboxStatus.CLAIMED).order_by("id")
        return [Claimed(*row) for row in claimed.values_list(*Claimed._fields)]

    def claim_close(self, client_id: int, epoch: int, now: datetime) -> Claimed | None:
        """Claim a close, if nothing is left before it. The caller holds the lease's lock."""
        unsent = self.filter(client_id=client_id, status__in=UNSETTLED).order_by("id")
        if unsent.values_list("close_code", flat=True).first() is None:
            return None
        claimed = self.claim(client_id, epoch, 1, now)
        return claimed[0] if claimed else None

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
        on_the_way = self.filter(
            client_id=client_id, status__in=(OutboxStatus.CLAIMED, OutboxStatus.WRITTEN)
        )
        on_the_way.filter(close_code__isnull=False)._requeue()  # to close twice does no harm
        if on_uncertain == OnUncertain.HOLD:
            return on_the_way._move(OutboxStatus.UNCERTAIN, ended_at=at, reason=UNSURE)
        return on_the_way._send_again(at)

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

    def _send_again(self, at: datetime) -> int:
        """Queue these messages of one client again; return how many were given up instead.

        Only the first may be what breaks the connections: the others' attempts don't count.
        """
        first = self.order_by("id").values_list("pk", flat=True).first()
        if first is None:
            return 0
        reason = "sent again: the connection broke before a pong came"
        self.exclude(pk=first)._requeue(reason=reason, attempts=F("attempts") - 1)
        given_up = self.filter(pk=first, attempts__gte=MOST_ATTEMPTS)._move(
            OutboxStatus.DEAD, ended_at=at, reason=GIVEN_UP
        )
        self.filter(pk=first)._requeue(reason=reason)
        return given_up

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
    close_cause = models.CharField(
        _("close cause"), max_length=15, choices=choices.CLOSE_CAUSE, blank=True
    )
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
        base_manager_name = "objects"
        constraints = (
            choices.one_of("status", OutboxStatus),
            choices.one_of("close_cause", CloseCause, or_empty=True, mostly=""),
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


def _as_many_as_fit(queued: Iterable[tuple[int, int, int | None]]) -> list[int]:
    """Return the ids of as many (id, size, close code) as may be claimed together."""
    ids: list[int] = []
    total = 0
    for key, size, close_code in queued:
        total += size
        if ids and total > MOST_BYTES:
            break
        ids.append(key)
        if close_code is not None:
            break
    return ids
