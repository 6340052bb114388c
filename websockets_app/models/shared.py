"""What handlers of all processes share, where no cache is configured for it."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField
from .primary import PrimaryQuerySet


class SharedValueQuerySet(PrimaryQuerySet["SharedValue"]):
    """Shared values, as handlers of any process read and write them."""

    def put(self, key: str, value: Any) -> None:
        """Write `value` over what is there under `key`, in one statement."""
        self.upsert(
            [self.model(key=key, value=value)], unique=["key"], update=["value", "updated_at"]
        )


class SharedValue(models.Model):
    """One value under its key."""

    key = ExactCharField(_("key"), max_length=200, primary_key=True)
    value = models.JSONField(_("value"), null=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SharedValueQuerySet.as_manager()

    class Meta:
        verbose_name = _("shared value")
        verbose_name_plural = _("shared values")
        ordering = ("key",)
        base_manager_name = "objects"

    def __str__(self) -> str:
        return self.key


class SharedMemberQuerySet(PrimaryQuerySet["SharedMember"]):
    """Members, in the order in which they were added."""

    def put(self, key: str, member: str) -> bool:
        """Add `member` to those of `key`; tell whether it wasn't one. The constraint decides."""
        if self.filter(key=key, member=member).exists():
            return False
        try:
            with self.atomic():
                self.create(key=key, member=member)
        except IntegrityError:  # somebody did so meanwhile, whom others may have removed again
            return False
        return True

    def take(self, key: str, member: str) -> bool:
        """Remove `member` from those of `key`; tell whether it was one."""
        return bool(self.filter(key=key, member=member).delete()[0])

    def of(self, key: str) -> list[str]:
        """Return the members of `key`."""
        return list(self.filter(key=key).order_by("pk").values_list("member", flat=True))


class SharedMember(models.Model):
    """One member of the set under a key: a row of its own, so that adding is atomic."""

    id = models.BigAutoField(primary_key=True)
    key = ExactCharField(_("key"), max_length=200)
    member = ExactCharField(_("member"), max_length=500, help_text=_("As JSON."))

    objects = SharedMemberQuerySet.as_manager()

    class Meta:
        verbose_name = _("shared member")
        verbose_name_plural = _("shared members")
        ordering = ("id",)
        base_manager_name = "objects"
        constraints = (
            models.UniqueConstraint(fields=("key", "member"), name="websockets_sharedmember_once"),
        )

    def __str__(self) -> str:
        return f"{self.key}: {self.member}"
