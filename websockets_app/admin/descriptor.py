"""What the pages of endpoints and clients have in common: handler, file, and what turns them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as django_delete_selected
from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import escape, format_html
from django.utils.text import capfirst
from django.utils.translation import gettext

from ..dispatch.loader import problem_of
from ..models import Node
from ..models.descriptor import Descriptor
from ..node.node import nodes
from .base import WebsocketsAdmin, change_url, named
from .forms import DescriptorForm

DescriptorT = TypeVar("DescriptorT", bound=Descriptor)


class DescriptorAdmin(WebsocketsAdmin[DescriptorT]):
    """The page of rows that people write and nodes follow; those of files are changed there."""

    form = DescriptorForm

    def has_change_permission(self, request: HttpRequest, obj: DescriptorT | None = None) -> bool:
        return not is_of_a_file(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: DescriptorT | None = None) -> bool:
        return not is_of_a_file(obj) and super().has_delete_permission(request, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is not None and obj.source and super().has_delete_permission(request):
            self._refuse_to_delete(request, [obj])
            return redirect(change_url(self.model, obj.pk))
        return super().delete_view(request, object_id, extra_context)

    @admin.action(
        permissions=["delete"],
        description=django_delete_selected.short_description,  # type: ignore[attr-defined]
    )
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[DescriptorT]
    ) -> HttpResponse | None:
        """Delete as Django does, or nothing at all if a file owns one of the rows."""
        if owned := list(queryset.exclude(source="")):
            self._refuse_to_delete(request, owned)
            return None
        return django_delete_selected(self, request, queryset)

    def _refuse_to_delete(self, request: HttpRequest, owned: Sequence[DescriptorT]) -> None:
        """Say which file owns each row: the next sync would bring it back."""
        rows = named([f"{row} ({row.file})" for row in owned])
        text = gettext(
            "Nothing was deleted, because files own these rows: %(rows)s. To delete such a row, "
            "remove its file and run manage.py sync_websockets --prune."
        )
        self.message_user(request, text % {"rows": rows}, messages.ERROR)

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
        for warning in self.load_warnings(obj):
            self.message_user(request, warning, messages.WARNING)

    def load_warnings(self, obj: DescriptorT) -> Iterator[str]:
        """Yield what this process can't load of a row that was saved, in words."""
        if problem := problem_of(obj.engine, obj.handler):
            text = gettext("Saved, but in this process its handler can't be loaded: %(problem)s")
            yield text % {"problem": problem}

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
