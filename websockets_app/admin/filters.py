"""Filters: by rows that may be deleted, by whether a session goes on, and by who owns a row."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..core.states import NodeState
from ..models import Client, Endpoint, Node, OutboxMessage, Session
from ..models.descriptor import Descriptor

OPEN: Final = "open"
CLOSED: Final = "closed"
DELETED: Final = "deleted"
FILE: Final = "file"
PEOPLE: Final = "people"


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
        value: Any = self.value()
        if value == DELETED:
            return queryset.exclude(Exists(Endpoint.objects.filter(pk=OuterRef("endpoint"))))
        return queryset.filter(endpoint=value) if value else queryset


class LinkedFilter(admin.SimpleListFilter):
    """Offers some of the rows that others belong to; a link may name any other."""

    def has_output(self) -> bool:
        # A filter without choices would be dropped, and its parameter refused.
        return True


class NodeFilter(LinkedFilter):
    """The sessions of one node; offers the living ones."""

    title = _("node")
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(node.pk, str(node)) for node in Node.objects.filter(state=NodeState.ALIVE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        return queryset.filter(node=self.value()) if self.value() else queryset


class ClientFilter(LinkedFilter):
    """The messages of one client; offers the lasting ones."""

    title = _("client")
    parameter_name = "client"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        lasting = Client.objects.filter(ephemeral=False).order_by("name")
        return [(str(key), name) for key, name in lasting.values_list("pk", "name")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[OutboxMessage]
    ) -> QuerySet[OutboxMessage]:
        value: Any = self.value()
        return queryset.filter(client=value) if value else queryset


class OwnerFilter(admin.SimpleListFilter):
    """The rows that files own, or that people do."""

    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(FILE, _("a file")), (PEOPLE, _("people"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Descriptor]
    ) -> QuerySet[Descriptor]:
        if self.value() == FILE:
            return queryset.exclude(source="")
        return queryset.filter(source="") if self.value() == PEOPLE else queryset
