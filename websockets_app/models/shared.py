"""What handlers of all processes share, where no cache is configured for it."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class SharedValue(models.Model):
    """One value under its key."""

    key = models.CharField(_("key"), max_length=200, primary_key=True)
    value = models.JSONField(_("value"), null=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("shared value")
        verbose_name_plural = _("shared values")
        ordering = ("key",)

    def __str__(self) -> str:
        return self.key


class SharedMember(models.Model):
    """One member of the set under a key: a row of its own, so that adding is atomic."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(_("key"), max_length=200)
    member = models.CharField(_("member"), max_length=500, help_text=_("As JSON."))

    class Meta:
        verbose_name = _("shared member")
        verbose_name_plural = _("shared members")
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("key", "member"), name="websockets_sharedmember_once"),
        )

    def __str__(self) -> str:
        return f"{self.key}: {self.member}"
