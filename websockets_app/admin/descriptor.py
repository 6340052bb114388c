"""What the pages of endpoints and clients have in common: handler, file, and what turns them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import escape, format_html
from django.utils.text import capfirst
from django.utils.translation import gettext

from ..dispatch.loader import problem_of
from ..models import Node
from ..models.descriptor import Descriptor
from ..node.node import nodes
from .base import WebsocketsAdmin
from .forms import DescriptorForm

DescriptorT = TypeVar("DescriptorT", bound=Descriptor)


class DescriptorAdmin(WebsocketsAdmin[DescriptorT]):
    """The page of rows that people write and nodes follow; those of files are changed there."""

    form = DescriptorForm

    def has_change_permission(self, request: HttpRequest, obj: DescriptorT | None = None) -> bool:
        return not is_of_a_file(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: DescriptorT | None = None) -> bool:
        return not is_of_a_file(obj) and super().has_delete_permission(request, obj)

    def get_deleted_objects(
        self, objs: Sequence[DescriptorT] | QuerySet[DescriptorT], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Protect the rows that files own: the next sync would bring them back."""
        listed, counts, missing, protected = self.found_to_delete(objs, request)
        return listed, counts, missing, [*protected, *_of_files(objs)]

    def found_to_delete(
        self, objs: Sequence[DescriptorT] | QuerySet[DescriptorT], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what goes with `objs`, as `get_deleted_objects` does."""
        return super().get_deleted_objects(objs, request)

    def note_of(self, obj: DescriptorT) -> str:
        if not obj.source:
            return ""
        return gettext(
            "The file %(file)s owns this row. To change it, edit the file and run manage.py "
            "sync_websockets; to delete it, delete the file and run that with --prune."
        ) % {"file": obj.file}

    def get_form(
        self,
        request: HttpRequest,
        obj: DescriptorT | None = None,
        change: bool = False,
        **options: Any,
    ) -> Any:
        """Escape the help, also of what is only read: as HTML it would lose its <slug:room>."""
        fields = self.model._meta.fields
        options["help_texts"] = {field.name: escape(field.help_text) for field in fields}
        return super().get_form(request, obj, change, **options)

    def with_file(self, obj: DescriptorT, shown: str) -> str:
        """Return the name of a row for the list, with the file that owns it."""
        return format_html("{}<br><small>{}</small>", shown, obj.file) if obj.source else shown

    def save_model(self, request: HttpRequest, obj: DescriptorT, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        # What this process finds says nothing about nodes in others: their reports do.
        if Node.objects.live().exists() and not nodes():
            return
        if problem := problem_of(obj.engine, obj.handler):
            text = gettext("Saved, but in this process its handler can't be loaded: %(problem)s")
            self.message_user(request, text % {"problem": problem}, messages.WARNING)

    def turn(
        self,
        request: HttpRequest,
        queryset: QuerySet[DescriptorT],
        verb: Callable[[Any], int],
        field: str,
        value: object,
        *,
        done: str,
        idle: str,
    ) -> None:
        """Let the query set's `verb` give `field` its `value`; record and tell what changed."""
        rows = list(queryset)
        changed = [row for row in rows if getattr(row, field) != value]
        chosen: Any = self.model._default_manager.filter(pk__in=[row.pk for row in rows])
        with chosen.atomic():
            verb(chosen)
            self.record_change(request, changed, [{"changed": {"fields": [capfirst(field)]}}])
        self.tell(request, done, changed, messages.SUCCESS)
        self.tell(request, idle, [row for row in rows if row not in changed], messages.INFO)
        fleeting = gettext("Only until the next sync, where their files say “%s”") % field
        self.tell(request, fleeting, [row for row in changed if row.source], messages.WARNING)


def is_of_a_file(obj: Model | None) -> bool:
    """Tell whether a file owns `obj`, so that nobody changes it here."""
    return isinstance(obj, Descriptor) and bool(obj.source)


def _of_files(objs: Iterable[Descriptor]) -> list[str]:
    words = gettext("%(row)s: the file %(file)s owns it; delete that, and sync with --prune")
    return [words % {"row": row, "file": row.file} for row in objs if row.source]
