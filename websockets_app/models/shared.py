"""What handlers of all processes share, where no cache is configured for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Final, ParamSpec, Self, TypeVar

from django.db import IntegrityError, OperationalError, connections, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .endpoint import Endpoint
from .fields import ExactCharField
from .node import Now
from .primary import PrimaryQuerySet

PRUNED_AT_ONCE: Final = 20
"""How many expired rows a write with a timeout deletes at most."""
_ATTEMPTS: Final = 5
_DEADLOCK: Final = (1213, "40P01", "40001")
"""MySQL's number of a deadlock; PostgreSQL's codes of one, and of a serialization failure."""

P = ParamSpec("P")
T = TypeVar("T")


class SharedEntry(models.Model):
    """What values and members have in common: who added them, and until when they last."""

    endpoint = models.ForeignKey(
        Endpoint,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        verbose_name=_("endpoint"),
        help_text=_("The endpoint whose handler added it. Empty: other code."),
    )
    expires_at = models.DateTimeField(_("expires at"), null=True)

    class Meta:
        abstract = True
        indexes = (
            models.Index(fields=("endpoint", "expires_at"), name="websockets_%(class)s_of"),
            models.Index(fields=("expires_at",), name="websockets_%(class)s_exp"),
        )


EntryT = TypeVar("EntryT", bound=SharedEntry)


def _retry_deadlocks(write: Callable[P, T]) -> Callable[P, T]:
    """Let a query set's method write again if the database ended it because of a deadlock.

    MySQL and MariaDB lock index entries too, so writes to the same row can deadlock without a
    transaction. In a transaction of the caller, only the caller can begin again.
    """

    @wraps(write)
    def write_again(*args: P.args, **kwargs: P.kwargs) -> T:
        rows: Any = args[0]
        for _attempt in range(_ATTEMPTS - 1):
            try:
                return write(*args, **kwargs)
            except OperationalError as error:
                if connections[rows.db].in_atomic_block or not _is_deadlock(error):
                    raise
        return write(*args, **kwargs)

    return write_again


def _is_deadlock(error: OperationalError) -> bool:
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or (cause.args[0] if cause and cause.args else None)
    return code in _DEADLOCK


class SharedEntryQuerySet(PrimaryQuerySet[EntryT]):
    """Entries that expire by the database's clock."""

    def current(self) -> Self:
        """Return the entries that haven't expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()))

    def of_endpoint(self, endpoint_id: int | None) -> Self:
        """Return the current entries that an endpoint's handler added, or other code for None."""
        return self.current().filter(endpoint_id=endpoint_id)

    @_retry_deadlocks
    def take(self, **fields: str) -> bool:
        """Delete the current entries with these fields; tell whether there were any."""
        return bool(self.current().filter(**fields).delete()[0])

    @_retry_deadlocks
    def prune(self) -> None:
        """Delete up to `PRUNED_AT_ONCE` expired rows, except those that others have locked."""
        expired = self.filter(expires_at__lte=Now())
        if not expired.exists():  # which takes no lock
            return
        can_skip = connections[self.db].features.has_select_for_update_skip_locked
        with self.atomic():
            locked = expired.order_by("expires_at").select_for_update(skip_locked=can_skip)
            keys = list(locked.values_list("pk", flat=True)[:PRUNED_AT_ONCE])
            expired.filter(pk__in=keys).delete()

    def _prune_after_commit(self, timeout: timedelta | None) -> None:
        if timeout is not None:
            every_row = type(self)(self.model, using=self.db)
            transaction.on_commit(every_row.prune, using=self.db, robust=True)


def _expiry(timeout: timedelta | None) -> Any:
    return None if timeout is None else Now() + timeout


class SharedValueQuerySet(SharedEntryQuerySet["SharedValue"]):
    """Shared values, as handlers of any process read and write them."""

    @_retry_deadlocks
    def overwrite(self, key: str, value: Any, timeout: timedelta | None) -> bool:
        """Replace the value of `key`; return False if it has none."""
        replaced = (
            self.current()
            .filter(pk=key)
            .update(value=value, expires_at=_expiry(timeout), updated_at=timezone.now())
        )
        if replaced:
            self._prune_after_commit(timeout)
        return bool(replaced)

    @_retry_deadlocks
    def put(
        self, key: str, value: Any, timeout: timedelta | None, endpoint_id: int | None
    ) -> None:
        """Add a value, or write it over what is there under `key`, in one statement."""
        row = self.model(
            key=key, value=value, expires_at=_expiry(timeout), endpoint_id=endpoint_id
        )
        self.upsert(
            [row], unique=["key"], update=["value", "expires_at", "endpoint", "updated_at"]
        )
        self._prune_after_commit(timeout)


class SharedValue(SharedEntry):
    """One value under its key."""

    key = ExactCharField(_("key"), max_length=200, primary_key=True)
    value = models.JSONField(_("value"), null=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SharedValueQuerySet.as_manager()

    class Meta(SharedEntry.Meta):
        abstract = False
        verbose_name = _("shared value")
        verbose_name_plural = _("shared values")
        ordering = ("key",)
        base_manager_name = "objects"

    def __str__(self) -> str:
        return self.key


class SharedMemberQuerySet(SharedEntryQuerySet["SharedMember"]):
    """Members, in the order in which they were added."""

    @_retry_deadlocks
    def renew(self, key: str, member: str, timeout: timedelta | None) -> bool:
        """Let a member of `key` expire after `timeout`; return False if it isn't one."""
        row = self.current().filter(key=key, member=member)
        if timeout is None and row.filter(expires_at=None).exists():
            return True  # without a write
        renewed = bool(row.update(expires_at=_expiry(timeout)))
        if renewed:
            self._prune_after_commit(timeout)
        return renewed

    @_retry_deadlocks
    def put(
        self, key: str, member: str, timeout: timedelta | None, endpoint_id: int | None
    ) -> bool:
        """Add `member` to those of `key`; tell whether it wasn't one. The constraint decides."""
        # One that has expired loses its place in the order.
        self.filter(key=key, member=member, expires_at__lte=Now()).delete()
        try:
            with self.atomic():
                self.create(
                    key=key, member=member, expires_at=_expiry(timeout), endpoint_id=endpoint_id
                )
        except IntegrityError:  # somebody did so meanwhile, whom others may have removed again
            return False
        self._prune_after_commit(timeout)
        return True

    def of(self, key: str) -> list[str]:
        """Return the members of `key`."""
        return list(self.current().filter(key=key).order_by("pk").values_list("member", flat=True))


class SharedMember(SharedEntry):
    """One member of the set under a key: a row of its own, so that adding is atomic."""

    id = models.BigAutoField(primary_key=True)
    key = ExactCharField(_("key"), max_length=200)
    member = ExactCharField(_("member"), max_length=500, help_text=_("As JSON."))

    objects = SharedMemberQuerySet.as_manager()

    class Meta(SharedEntry.Meta):
        abstract = False
        verbose_name = _("shared member")
        verbose_name_plural = _("shared members")
        ordering = ("id",)
        base_manager_name = "objects"
        constraints = (
            models.UniqueConstraint(fields=("key", "member"), name="websockets_sharedmember_once"),
        )

    def __str__(self) -> str:
        return f"{self.key}: {self.member}"
