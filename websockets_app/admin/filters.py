"""Filters of history: by endpoints and nodes that may be deleted, and by whether it goes on."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..core.states import NodeState
from ..models import Endpoint, Node, Session

OPEN: Final = "open"
CLOSED: Final = "closed"
DELETED: Final = "deleted"


class StateFilter(admin.SimpleListFilter):
    """Open sessions, or those that are over."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(OPEN, _("open")), (CLOSED, _("closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        if self.value() in (OPEN, CLOSED):
            return queryset.filter(closed_at__isnull=self.value() == OPEN)
        return queryset


class EndpointFilter(admin.SimpleListFilter):
    """The sessions of one endpoint, or of those that are deleted."""

    title = _("endpoint")
    parameter_name = "endpoint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        there = Endpoint.objects.order_by("endpoint").values_list("pk", "endpoint")
        return [*((str(key), path) for key, path in there), (DELETED, _("deleted ones"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        value = self.value() or ""
        if value == DELETED:
            return queryset.exclude(Exists(Endpoint.objects.filter(pk=OuterRef("endpoint"))))
        return queryset.filter(endpoint=int(value)) if value.isdecimal() else queryset


class NodeFilter(admin.SimpleListFilter):
    """Offers the living nodes; a link may name any other."""

    title = _("node")
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(node.pk, str(node)) for node in Node.objects.filter(state=NodeState.ALIVE)]

    def has_output(self) -> bool:
        # A filter without choices would be dropped, and its parameter refused.
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        return queryset.filter(node=self.value()) if self.value() else queryset
