"""What the pages of endpoints and clients have in common: their handler, and what turns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext

from ..dispatch.loader import problem_of
from ..models.descriptor import Descriptor
from .base import WebsocketsAdmin
from .forms import DescriptorForm

DescriptorT = TypeVar("DescriptorT", bound=Descriptor)


class DescriptorAdmin(WebsocketsAdmin[DescriptorT]):
    """The page of rows that people write and nodes follow."""

    form = DescriptorForm

    def save_model(self, request: HttpRequest, obj: DescriptorT, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if problem := problem_of(obj.engine, obj.handler):
            text = gettext("Saved, but its handler can't serve: %(problem)s")
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
        chosen = self.model._default_manager.filter(pk__in=[row.pk for row in changed])
        with transaction.atomic(using=chosen.db):
            verb(chosen)
            self.record_change(request, changed, [{"changed": {"fields": [capfirst(field)]}}])
        self.tell(request, done, changed, messages.SUCCESS)
        self.tell(request, idle, [row for row in rows if row not in changed], messages.INFO)
