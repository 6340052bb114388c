"""Endpoints: the WebSocket URLs that this site serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, ClassVar, Final

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import functions, signals
from django.urls import get_script_prefix
from django.utils.translation import gettext_lazy as _

from ..core.states import Access, MessageRecording, OnChange, OnHandlerError, RateScope
from ..core.text import tame
from . import choices, patterns, validators
from .descriptor import Descriptor, DescriptorManager, DescriptorQuerySet
from .fields import ExactCharField
from .primary import PrimaryQuerySet, rows_to_write
from .session import Session

PUBLIC_WITH_PERMISSION: Final = _(
    "A public endpoint lets everyone in: remove the permission, or choose another access."
)
PUBLIC_WITH_GROUPS: Final = _(
    "A public endpoint lets everyone in: remove its groups, or choose another access."
)


class EndpointQuerySet(DescriptorQuerySet["Endpoint"]):
    """Endpoints, in the order in which they are matched."""

    def served(self) -> EndpointQuerySet:
        """Return the enabled endpoints, the oldest first: where two match, the older wins."""
        groups = models.Prefetch("groups", rows_to_write(Group))
        return self.filter(enabled=True).order_by("pk").prefetch_related(groups)

    def enable(self) -> int:
        """Let these endpoints serve; return how many didn't."""
        return self.filter(enabled=False).update(enabled=True)

    def disable(self) -> int:
        """Refuse new sessions and close those that are open; return how many were enabled."""
        return self.filter(enabled=True).update(enabled=False)

    def with_open_sessions(self) -> EndpointQuerySet:
        """Annotate `open_sessions`, how many sessions are open on each now."""
        open_here = Session.objects.open().filter(endpoint=models.OuterRef("pk"))
        return self.annotate(open_sessions=_number(open_here))

    def open_beside(
        self, node_id: str, user_key: str, address_group: str, *, all_of_them: bool = True
    ) -> tuple[int, int, int]:
        """Return how many of this endpoint's sessions other nodes hold.

        All, where asked for, the user's, and the address': one query, of an index for each. All of
        them may be ten thousands, and take as many index entries to count.
        """
        held = Session.objects.open().filter(endpoint=models.OuterRef("pk")).exclude(node=node_id)
        counted = (
            _number(held) if all_of_them else models.Value(0),
            _number(held.filter(user_key=user_key)) if user_key else models.Value(0),
            _number(held.filter(address_group=address_group))
            if address_group
            else models.Value(0),
        )
        return self.values_list(*counted).first() or (0, 0, 0)


def _number(sessions: models.QuerySet[Session]) -> functions.Coalesce:
    counted = sessions.order_by().values("endpoint").annotate(n=models.Count("pk"))
    return functions.Coalesce(models.Subquery(counted.values("n")), 0)


_EndpointManager = DescriptorManager.from_queryset(EndpointQuerySet)


class EndpointManager(_EndpointManager["Endpoint"]):
    """The manager of endpoints; migrations name it."""


class Endpoint(Descriptor):
    """The stored descriptor of a WebSocket URL that this site serves."""

    field_validators: ClassVar = {
        **Descriptor.field_validators,
        "idle_timeout": validators.validate_seconds,
        "origins": validators.validate_origins,
        "permission": validators.validate_permission,
        "send_timeout": validators.validate_seconds,
        "services": validators.validate_services,
    }

    endpoint = ExactCharField(
        _("endpoint"),
        max_length=200,
        unique=True,
        validators=[patterns.validate_endpoint],
        help_text=_(
            "A path below the prefix, in the syntax of Django's path(): my-endpoint, "
            "chat/<slug:room>. With a leading slash it is absolute: /service/<str:type>."
        ),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    services = models.JSONField(
        _("services"),
        default=list,
        blank=True,
        help_text=_(
            "A JSON list of the modules that peers may call through the handler "
            "websockets_app.websocket_handlers: chat.chat_service, or chat.* for every service "
            "below a package. Empty: none. Other handlers don't use it."
        ),
    )
    access = models.CharField(
        _("access"), max_length=15, choices=choices.ACCESS, default=Access.AUTHENTICATED.value
    )
    accept_users_without_row = models.BooleanField(
        _("accept users without a row"),
        default=False,
        help_text=_(
            "Users that a middleware creates without a row in the database, for example from a "
            "token. Their sessions can't be closed when they are deactivated."
        ),
    )
    permission = models.CharField(
        _("permission"),
        max_length=200,
        blank=True,
        help_text=_("Only users who have it may enter, as app_label.codename."),
    )
    groups: models.ManyToManyField[Group, EndpointGroup] = models.ManyToManyField(
        Group,
        through="EndpointGroup",
        verbose_name=_("groups"),
        blank=True,
        help_text=_(
            "Only members of one of these may enter; none: everybody whom access lets in."
        ),
    )
    origins = models.JSONField(
        _("origins"),
        default=list,
        blank=True,
        help_text=_(
            "A JSON list of further origins that pages may come from, as https://example.com; "
            '"*" allows every one. The site\'s own and CSRF_TRUSTED_ORIGINS are always allowed.'
        ),
    )
    allow_missing_origin = models.BooleanField(
        _("allow a missing Origin"),
        default=False,
        help_text=_("Programs send none, browsers always do. Public endpoints always allow it."),
    )
    inbox_messages = models.PositiveIntegerField(
        _("inbox, in messages"),
        default=1000,
        validators=[MinValueValidator(1)],
        help_text=_("How many messages may wait for a slow handler; one more closes with 1013."),
    )
    inbox_bytes = models.PositiveIntegerField(
        _("inbox, in bytes"),
        default=16 * 1024 * 1024,
        validators=[MinValueValidator(1)],
        help_text=_("How many bytes may wait for a slow handler; more close with 1013."),
    )
    messages_per_second = models.FloatField(
        _("messages a second"),
        default=100.0,
        validators=[MinValueValidator(0)],
        help_text=_("On the average; more close with 1008. 0: any number."),
    )
    message_burst = models.PositiveIntegerField(
        _("burst"),
        default=1000,
        validators=[MinValueValidator(1)],
        help_text=_("How many messages may come at once."),
    )
    rate_scope = models.CharField(
        _("whose messages are counted together"),
        max_length=10,
        choices=choices.RATE_SCOPE,
        default=RateScope.SESSION.value,
    )
    connections_per_minute = models.PositiveIntegerField(
        _("connections a minute"),
        default=600,
        help_text=_(
            "How often one address may connect, on average, in each process. More is refused with "
            "429, and counts as well. Many users can share one address (NAT). 0: no limit."
        ),
    )
    connection_burst = models.PositiveIntegerField(
        _("connections at once"),
        default=100,
        validators=[MinValueValidator(1)],
        help_text=_("How many connections one address may open at once."),
    )
    max_sessions = models.PositiveIntegerField(
        _("sessions"),
        default=10_000,
        help_text=_("Open at once, in all processes; one more is refused. 0: any number."),
    )
    max_sessions_per_user = models.PositiveIntegerField(
        _("sessions of a user"),
        default=100,
        help_text=_("Open at once, in all processes; one more is refused. 0: any number."),
    )
    max_sessions_per_address = models.PositiveIntegerField(
        _("sessions of an address"),
        default=200,
        help_text=_(
            "Open at once, in all processes; one more is refused. Many users can share one "
            "address (NAT). An IPv6 address counts as its /64 network. 0: any number."
        ),
    )
    idle_timeout = models.FloatField(
        _("idle timeout"),
        default=86_400.0,
        validators=[MinValueValidator(0)],
        help_text=_(
            "Seconds without a message in either direction, after which it closes with 4408; "
            "0: never."
        ),
    )
    send_timeout = models.FloatField(
        _("send timeout"),
        default=30.0,
        validators=[MinValueValidator(0)],
        help_text=_(
            "Seconds that a peer that doesn't read may keep a message waiting, where the server "
            "tells of it; then it closes with 1013. 0: for ever."
        ),
    )
    on_change = models.CharField(
        _("when the row changes"),
        max_length=10,
        choices=choices.ON_CHANGE,
        default=OnChange.KEEP.value,
        help_text=_("What becomes of the sessions that are open then."),
    )

    objects = EndpointManager()

    class Meta:
        verbose_name = _("endpoint")
        verbose_name_plural = _("endpoints")
        ordering = ("endpoint",)
        base_manager_name = "objects"
        constraints = (
            choices.one_of("access", Access),
            choices.one_of("on_change", OnChange),
            choices.one_of("on_handler_error", OnHandlerError),
            choices.one_of("rate_scope", RateScope),
            choices.one_of("record_messages", MessageRecording),
            choices.one_row_a_file(),
        )

    def __str__(self) -> str:
        return tame(self.endpoint)

    @property
    def path(self) -> str:
        """The path of its URL, with the pattern's captures as they are written.

        It begins with the script name of the running request, as what `reverse()` returns does.
        """
        return get_script_prefix() + patterns.route(self.endpoint)

    def contradictions(self) -> dict[str, ValidationError]:
        if self.access == Access.PUBLIC and self.permission:
            return {"permission": ValidationError(PUBLIC_WITH_PERMISSION)}
        return super().contradictions()

    def refuse_related(self, names: Collection[str]) -> None:
        super().refuse_related(names)
        if self.access == Access.PUBLIC and "groups" in names:
            raise ValidationError({"groups": PUBLIC_WITH_GROUPS})

    def invalid_values(self) -> str:
        found = super().invalid_values()
        if not found and self.access == Access.PUBLIC and self.groups.all():
            return f"groups: {PUBLIC_WITH_GROUPS}"
        return found

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        """Also refuse an endpoint that another row writes differently.

        A unique constraint can't do this because the prefix is a setting. If two rows get the same
        URL anyway, the older one serves it, and a system check warns.
        """
        super().validate_unique(exclude)
        if exclude is not None and "endpoint" in exclude:
            return
        key = patterns.url_key(self.endpoint)
        others = type(self)._default_manager.exclude(pk=self.pk).order_by("pk")
        for other in others.values_list("endpoint", flat=True):
            if patterns.url_key(other) == key:
                raise ValidationError(
                    {
                        "endpoint": ValidationError(
                            _("The endpoint %(other)s already has this URL."),
                            code="unique",
                            params={"other": other},
                        )
                    }
                )


class EndpointGroupQuerySet(PrimaryQuerySet["EndpointGroup"]):
    """Query sets whose writes, which send no signal, draw new revisions of the endpoints."""

    def update(self, **values: Any) -> int:
        rows = dict(self.values_list("pk", "endpoint"))
        changed = super().update(**values)
        moved = self.model._default_manager.using(self.db).filter(pk__in=rows)
        Endpoint.touch([*rows.values(), *moved.values_list("endpoint", flat=True)], self.db)
        return changed

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self, objs: Iterable[EndpointGroup], *args: Any, **options: Any
    ) -> list[EndpointGroup]:
        created = super().bulk_create(objs, *args, **options)
        Endpoint.touch([row.endpoint_id for row in created], self.db)
        return created


_EndpointGroupManager = models.Manager.from_queryset(EndpointGroupQuerySet)


class EndpointGroupManager(_EndpointGroupManager["EndpointGroup"]):
    """A manager that draws new revisions of the endpoints whose groups change.

    Like `DescriptorManager` it does so for historical models too.
    """

    use_in_migrations = True

    def contribute_to_class(self, cls: type[models.Model], name: str) -> None:
        super().contribute_to_class(cls, name)
        signals.pre_save.connect(self._touch_former_endpoint, sender=cls)
        signals.post_save.connect(self._touch_endpoint, sender=cls)
        signals.post_delete.connect(self._touch_endpoint, sender=cls)
        signals.m2m_changed.connect(self._touch_endpoints, sender=cls)

    def _touch_former_endpoint(
        self, sender: type[EndpointGroup], instance: EndpointGroup, using: str, **kwargs: Any
    ) -> None:
        """Notice that the row of one endpoint becomes another's."""
        stored = sender._base_manager.using(using).filter(pk=instance.pk)
        Endpoint.touch(list(stored.values_list("endpoint", flat=True)), using)

    def _touch_endpoint(self, instance: EndpointGroup, using: str, **kwargs: Any) -> None:
        Endpoint.touch([instance.endpoint_id], using)

    def _touch_endpoints(
        self,
        instance: models.Model,
        action: str,
        reverse: bool,
        pk_set: set[int] | None,
        using: str,
        **kwargs: Any,
    ) -> None:
        """Notice `endpoint.groups.add(…)`, and `group.endpoint_set.add(…)` as well."""
        if not reverse:
            Endpoint.touch([instance.pk], using)
        elif action == "pre_clear":  # afterwards nobody knows which endpoints those were
            concerned = Endpoint.objects.using(using).filter(groups=instance.pk)
            Endpoint.touch(list(concerned.values_list("pk", flat=True)), using)
        elif pk_set:
            Endpoint.touch(list(pk_set), using)


class EndpointGroup(models.Model):
    """A group whose members may enter an endpoint.

    A table of its own, so that a group in use can't be deleted: an endpoint that loses its last
    group would stand open to everybody.
    """

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, verbose_name=_("endpoint"))
    group = models.ForeignKey(Group, models.PROTECT, verbose_name=_("group"))

    objects = EndpointGroupManager()

    class Meta:
        verbose_name = _("group of an endpoint")
        verbose_name_plural = _("groups of an endpoint")
        base_manager_name = "objects"
        constraints = (
            models.UniqueConstraint(
                fields=("endpoint", "group"), name="websockets_endpointgroup_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.group}"

    def clean(self) -> None:
        super().clean()
        endpoint = getattr(self, "endpoint", None)
        if endpoint is not None and endpoint.access == Access.PUBLIC:
            raise ValidationError({"group": PUBLIC_WITH_GROUPS})
