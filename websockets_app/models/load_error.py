"""Load errors: which nodes can't load the handler of an endpoint or client, and why."""

from __future__ import annotations

from collections.abc import Collection

from django.db import models
from django.utils.translation import gettext_lazy as _

from .primary import PrimaryQuerySet


class LoadErrorQuerySet(PrimaryQuerySet["LoadError"]):
    """What nodes report; each writes its own rows only."""

    def report(self, node_id: str, of: str, keys: Collection[int], rows: list[LoadError]) -> None:
        """Replace by `rows` what `node_id` reported of some endpoints or clients.

        `of` says which of the two, by the name of the field; `keys` are their primary keys.
        """
        with self.atomic():
            self.filter((f"{of}__in", keys), node=node_id).delete()
            self.bulk_create(rows)


class LoadError(models.Model):
    """Why one node can't load the handler of an endpoint or client.

    It names its row and node without a constraint: deleting one of those waits for nothing.
    """

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(
        "Node",
        models.DO_NOTHING,
        db_constraint=False,
        related_name="load_errors",
        verbose_name=_("node"),
    )
    endpoint = models.ForeignKey(
        "Endpoint",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="load_errors",
        verbose_name=_("endpoint"),
    )
    client = models.ForeignKey(
        "Client",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="load_errors",
        verbose_name=_("client"),
    )
    problem = models.TextField(_("problem"))
    since = models.DateTimeField(_("since"))
    attempts = models.PositiveIntegerField(_("attempts"))
    next_attempt_at = models.DateTimeField(
        _("next attempt"), null=True, help_text=_("Empty: only a change of the row can help.")
    )

    objects = LoadErrorQuerySet.as_manager()

    class Meta:
        verbose_name = _("load error")
        verbose_name_plural = _("load errors")
        constraints = (
            models.UniqueConstraint(
                fields=("node", "endpoint"), name="websockets_loaderror_endpoint"
            ),
            models.UniqueConstraint(fields=("node", "client"), name="websockets_loaderror_client"),
        )

    def __str__(self) -> str:
        return f"{self.node_id}: {self.problem}"
