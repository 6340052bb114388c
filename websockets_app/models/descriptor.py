"""What endpoints and clients have in common, above all their revision.

Running nodes notice a change by comparing revisions for inequality, so each way that Django
offers to change a row must draw a new one: `save()` in all its forms, `loaddata` (raw), stale
double saves, `QuerySet.update`, `bulk_update` and upserts. This holds for the historical models of
data migrations too: they have no methods of ours, but they have the manager.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Count, OuterRef, Subquery, Sum, signals
from django.utils.translation import gettext_lazy as _

from ..core.states import MessageRecording, OnHandlerError
from ..signals import descriptors_changed
from . import choices, validators
from .event import Event
from .fields import ExactCharField
from .primary import PrimaryQuerySet

# SUM() over a table must not overflow SQLite's 63 bits: 40 bits leave room for 8 million rows.
_REVISION_BITS: Final = 40

ModelT = TypeVar("ModelT", bound="Descriptor")


def new_revision() -> int:
    """Return a number that no other change of the row has."""
    return secrets.randbits(_REVISION_BITS)


class Watermark(NamedTuple):
    """What a node polls: it differs when any row was added, changed or deleted."""

    rows: int
    revisions: int


class DescriptorQuerySet(PrimaryQuerySet[ModelT]):
    """Query sets whose every write draws new revisions."""

    def update(self, **values: Any) -> int:
        values.setdefault("revision", new_revision())
        rows = super().update(**values)
        announce_after_commit(self.model, using=self.db)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[ModelT],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[ModelT]:
        objs = list(objs)
        for obj in objs:
            obj.revision = new_revision()
        if update_conflicts and update_fields is not None:
            update_fields = {*update_fields, "revision"}
        created = super().bulk_create(
            objs, batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields
        )
        announce_after_commit(self.model, using=self.db)
        return created

    def watermark(self) -> Watermark:
        """Return what changes whenever a row does, for one cheap query a poll."""
        found = self.aggregate(rows=Count("pk"), revisions=Sum("revision"))
        return Watermark(found["rows"], int(found["revisions"] or 0))

    def with_last_event(self) -> Self:
        """Annotate `last_event_kind` and `last_event_at`, None where nothing is recorded."""
        about = Event.objects.filter(**{str(self.model._meta.model_name): OuterRef("pk")})
        last = about.order_by("-id")
        return self.annotate(
            last_event_kind=Subquery(last.values("kind")[:1]),
            last_event_at=Subquery(last.values("at")[:1]),
        )

    def revisions(self) -> dict[int, int]:
        """Return each row's revision by its primary key."""
        return dict(self.values_list("pk", "revision"))


class DescriptorManager(models.Manager[ModelT]):
    """A manager that draws a new revision for each save of a model, real or historical."""

    use_in_migrations = True

    def contribute_to_class(self, cls: type[models.Model], name: str) -> None:
        super().contribute_to_class(cls, name)
        # Bound methods: Django drops them with the manager, and so with a historical model.
        signals.pre_save.connect(self._draw_revision, sender=cls)
        signals.post_save.connect(self._store_revision, sender=cls)
        signals.post_delete.connect(self._announce, sender=cls)

    def _draw_revision(self, instance: Descriptor, **kwargs: Any) -> None:
        """Draw a revision for each save, also for a raw one (`loaddata`), which skips `save()`."""
        instance.revision = new_revision()

    def _store_revision(
        self,
        sender: type[models.Model],
        instance: Descriptor,
        using: str,
        update_fields: Collection[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the revision if a historical model saved other fields only; announce the save."""
        if update_fields is not None and "revision" not in update_fields:
            row = sender._base_manager.using(using).filter(pk=instance.pk)
            row.update(revision=instance.revision)
        else:
            announce_after_commit(sender, using)

    def _announce(self, sender: type[models.Model], using: str, **kwargs: Any) -> None:
        announce_after_commit(sender, using)


class Descriptor(models.Model):
    """A row that describes a WebSocket, owned by whoever edits it, never written by a node."""

    field_validators: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "subprotocols": validators.validate_subprotocols
    }
    """By field, what returns the value to store or raises `ValidationError`."""

    handler = models.CharField(
        _("handler"),
        max_length=255,
        help_text=_("The Python module whose callbacks answer, as my_project.ws_handler."),
    )
    engine = models.CharField(_("engine"), max_length=40, default="python")
    description = models.TextField(_("description"), blank=True)
    subprotocols = models.JSONField(
        _("subprotocols"),
        default=list,
        blank=True,
        help_text=_("A JSON list of names, the preferred first."),
    )
    max_message_size = models.PositiveIntegerField(
        _("largest message"),
        default=1024 * 1024,
        validators=[MinValueValidator(1)],
        help_text=_("In bytes; a larger one closes with 1009."),
    )
    on_handler_error = models.CharField(
        _("when a callback raises"),
        max_length=10,
        choices=choices.ON_HANDLER_ERROR,
        default=OnHandlerError.CONTINUE.value,
    )
    record_messages = models.CharField(
        _("recording of messages"),
        max_length=10,
        choices=choices.MESSAGE_RECORDING,
        default=MessageRecording.COUNTERS.value,
    )
    source_root = ExactCharField(_("root of its file"), max_length=255, blank=True, editable=False)
    source = ExactCharField(
        _("file"),
        max_length=255,
        blank=True,
        editable=False,
        help_text=_("The file that owns the row, below its root; empty: people own it."),
    )
    revision = models.BigIntegerField(_("revision"), default=new_revision, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        abstract = True

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        # Here as well as in the manager: assigned, it is saved also where it had been deferred.
        self.revision = new_revision()
        if update_fields is not None:
            named = set(update_fields)  # none at all asks Django to save nothing
            update_fields = named | {"revision", "updated_at"} if named else named
        super().save(
            force_insert=force_insert,
            force_update=force_update,
            using=using,
            update_fields=update_fields,
        )

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Refuse values that can't work, field by field; then those that contradict each other."""
        excluded = set(exclude or ())
        errors: dict[str, Any] = {}
        try:
            super().clean_fields(exclude=excluded)
        except ValidationError as error:
            errors = error.error_dict
        for field in self._meta.fields:
            if field.primary_key or not field.editable or field.name in {*errors, *excluded}:
                continue
            validate = self.field_validators.get(field.name, lambda value: value)
            try:
                value = validators.validate_storable(field, getattr(self, field.name))
                setattr(self, field.name, validate(value))
            except ValidationError as error:
                errors[field.name] = error
        if errors:
            raise ValidationError(errors)
        contradictions = self.contradictions()
        if found := {name: contradictions[name] for name in contradictions.keys() - excluded}:
            raise ValidationError(found)

    def contradictions(self) -> dict[str, ValidationError]:
        """Return why fields that are valid by themselves don't fit together, by field."""
        return {}

    def refuse_related(self, names: Collection[str]) -> None:
        """Raise `ValidationError` if the row can't have rows in the relations of these `names`."""

    def invalid_values(self) -> str:
        """Return which stored values the admin would refuse and why, or an empty string."""
        try:
            self.clean_fields()
        except ValidationError as error:
            return "; ".join(
                f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()
            )
        return ""

    @property
    def file(self) -> str:
        """The file that owns the row, for people; empty where people own it."""
        return f"{self.source_root}/{self.source}" if self.source else ""

    @classmethod
    def touch(cls, keys: Sequence[int], using: str) -> None:
        """Draw a new revision for the rows of `keys`, whose related rows changed."""
        cls._default_manager.using(using).filter(pk__in=keys).update()


def announce_after_commit(model: type[models.Model], using: str) -> None:
    """Tell this process' nodes, once the change is committed, that they need not wait."""
    transaction.on_commit(
        lambda: descriptors_changed.send_robust(sender=model), using=using, robust=True
    )
