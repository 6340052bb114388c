"""What the pages have in common: read-only rows, change records, and how things are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.db import DataError, ProgrammingError
from django.db.models import Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext as _

from ..models import Event

ModelT = TypeVar("ModelT", bound=Model)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline
else:
    # Django's own; only its type stubs are generic.

    class ModelAdmin(admin.ModelAdmin):
        """A page of one model's rows."""

        def __class_getitem__(cls, model: object) -> type:
            return cls

    class TabularInline(admin.TabularInline):
        """Rows of another model, on a row's page."""

        def __class_getitem__(cls, models: object) -> type:
            return cls


EVENTS_SHOWN: Final = 100
NAMES_TOLD: Final = 20
INVALID_VALUE: Final = (OverflowError, TypeError, ValueError, DataError, ProgrammingError)
"""What a query raises if its database can't compare a value with the column.

Databases differ: SQLite rejects large integers, PostgreSQL rejects NUL.
"""
UNSAFE_LOOKUPS: Final = frozenset({"regex", "iregex"})
"""Lookups whose value can make the database, or with SQLite this process, work for hours."""


class Tool(NamedTuple):
    """A button on a row's page, which runs an action of the list for that row."""

    action: str
    label: str | Promise


class WebsocketsAdmin(ModelAdmin[ModelT]):
    """A page of ours: its look, and the events of the row that it shows."""

    show_full_result_count = False  # a second count of the whole table for each search
    show_facets = admin.ShowFacets.NEVER  # and one for each choice of each filter
    change_form_template = "admin/websockets_app/change_form.html"
    shows_rows_of: ClassVar[Mapping[object, type[Model]]] = {}
    """Columns and fields that show rows of another model, by what is in `list_display` or a
    fieldset. Only users who may view that model get them."""

    class Media:
        css = {"all": ["websockets_app/admin.css"]}

    def may_view(self, request: HttpRequest, model: type[Model]) -> bool:
        """Return whether the user may view rows of `model` in this admin."""
        site = self.admin_site
        return site.is_registered(model) and site.get_model_admin(model).has_view_permission(
            request
        )

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list; treat an invalid value in the query string as Django treats others."""
        try:
            return super().get_changelist_instance(request)
        except INVALID_VALUE as error:
            if request.GET.keys() <= {ERROR_FLAG}:
                raise  # no value was given, so something else is wrong
            raise IncorrectLookupParameters(error) from error

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ModelT | None:
        """Return the row, or None if there is none or the database can't look for that key."""
        try:
            return super().get_object(request, object_id, from_field)
        except INVALID_VALUE:
            return None

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[ModelT], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run an action, unless the database can't look for the selected keys."""
        try:
            queryset.filter(pk__in=request.POST.getlist(ACTION_CHECKBOX_NAME)).exists()
        except INVALID_VALUE as error:
            raise Http404("No row can have one of the selected keys.") from error
        return super().response_action(request, queryset, *args, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse regular expressions, which a user could use to keep the database busy."""
        if not UNSAFE_LOOKUPS.isdisjoint(lookup.split(LOOKUP_SEP)):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        return [column for column in columns if self._may_see(request, column)]

    def all_fieldsets(self, request: HttpRequest, obj: ModelT | None = None) -> Any:
        """Return the fieldsets of a user who may view everything."""
        return super().get_fieldsets(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: ModelT | None = None) -> Any:
        """Return the fieldsets without the fields that the user may not see."""

        def visible(fields: Iterable[Any]) -> tuple[Any, ...]:
            shown = (
                visible(field) if isinstance(field, list | tuple) else field for field in fields
            )
            return tuple(
                self.field_to_show(request, obj, field)
                for field in shown
                if field and self._may_see(request, field)
            )

        shown = (
            (title, {**options, "fields": visible(options["fields"])})
            for title, options in self.all_fieldsets(request, obj)
        )
        return [(title, options) for title, options in shown if options["fields"]]

    def field_to_show(self, request: HttpRequest, obj: ModelT | None, field: Any) -> Any:
        """Return what stands on the page of `obj` for a field of a fieldset."""
        return field

    def _may_see(self, request: HttpRequest, shown: Any) -> bool:
        model = self.shows_rows_of.get(shown)
        return model is None or self.may_view(request, model)

    def events_of(self, obj: ModelT) -> Iterable[Event]:
        """Return what is recorded of `obj`, for its page."""
        return ()

    def events_query(self, obj: ModelT) -> Mapping[str, str]:
        """Return the query by which the list of events shows all of `obj`."""
        return {}

    def note_of(self, obj: ModelT) -> str:
        """Return what has to be known before anything is done with `obj`: it stands on top."""
        return ""

    def tools_of(self, obj: ModelT) -> Iterable[Tool]:
        """Return the actions that can be run from the page of `obj` too."""
        return ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None:
            allowed = self.get_actions(request)
            context |= {
                "websockets_note": self.note_of(obj),
                "websockets_tools": [
                    tool for tool in self.tools_of(obj) if tool.action in allowed
                ],
            }
            if self.may_view(request, Event):
                context |= self._events_context(obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def _events_context(self, obj: ModelT) -> dict[str, Any]:
        query = self.events_query(obj)
        if not query:
            return {}
        return {
            "websockets_events": list(self.events_of(obj)),
            "websockets_events_url": changelist_url(Event, query),
        }

    def record_change(
        self, request: HttpRequest, rows: Sequence[ModelT], message: str | list[Any]
    ) -> None:
        """Leave a change record for each of `rows`, as its form would have."""
        if rows:
            LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, message)  # type: ignore[arg-type]

    def tell(self, request: HttpRequest, outcome: str, rows: Sequence[ModelT], level: int) -> None:
        """Tell the outcome of an action for each of `rows`."""
        if rows:
            self.message_user(request, f"{outcome}: {named(rows)}", level)


class ReadOnlyAdmin(WebsocketsAdmin[ModelT]):
    """The page of rows that nodes write: people look at them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def named(rows: Sequence[object]) -> str:
    """Return the names of `rows`, as many as a person reads."""
    names = ", ".join(str(row) for row in rows[:NAMES_TOLD])
    if len(rows) <= NAMES_TOLD:
        return names
    return _("%(names)s and %(more)d more") % {"names": names, "more": len(rows) - NAMES_TOLD}


def changelist_url(model: type[Model], query: Mapping[str, str] | None = None) -> str:
    """Return the address of the list of `model`'s rows that `query` selects."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def change_url(model: type[Model], key: object) -> str:
    """Return the address of the page of a row of ours."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def change_link(model: type[Model], key: object, text: object) -> SafeString:
    """Return a link to the page of a row of ours."""
    return format_html('<a href="{}">{}</a>', change_url(model, key), text)


def badge(value: str, label: object) -> SafeString:
    """Return a state as a word whose look tells how things stand."""
    return format_html(
        '<span class="websockets-badge websockets-{}">{}</span>', value, capfirst(str(label))
    )


def shown_problem(problem: str) -> str:
    """Return why a row can't serve so that it catches the eye."""
    return format_html('<span class="websockets-problem">{}</span>', problem) if problem else "–"


def exact_time(moment: datetime | None) -> str:
    """Return a time to the second, in the time zone of the site: events follow each other fast."""
    if moment is None:
        return "–"
    local = localtime(moment) if is_aware(moment) else moment
    return date_format(local, "Y-m-d H:i:s", use_l10n=False)


def cut(text: str, length: int = 120) -> str:
    """Return the first line of `text`, as much of it as a list has room for."""
    line = text.partition("\n")[0]
    return line if len(line) <= length else f"{line[: length - 1]}…"
