"""Clients: what the admin, a file or code wants of an outbound connection."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Count, F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..conf import app_settings
from ..core.environment import AllowedVariables, names_in
from ..core.states import Desired, MessageRecording, OnHandlerError, OnUncertain, OutboxStatus
from ..core.text import tame
from . import choices, validators
from .descriptor import Descriptor, DescriptorManager, DescriptorQuerySet
from .fields import ExactCharField

UNSENT: Final = (
    OutboxStatus.QUEUED,
    OutboxStatus.CLAIMED,
    OutboxStatus.WRITTEN,
    OutboxStatus.UNCERTAIN,
)


class ClientQuerySet(DescriptorQuerySet["Client"]):
    """Clients, as a runner asks for them."""

    def desired_to_run(self, names: list[str] | None = None) -> ClientQuerySet:
        """Return the clients that should run, those of `names` only where there are any."""
        wanted = self.filter(desired=Desired.RUN)
        return wanted.filter(name__in=names) if names else wanted

    def run(self) -> int:
        """Want these clients connected, whatever close is queued; return how many were stopped."""
        from .outbox import OutboxMessage  # which imports this module

        sent = OutboxMessage.objects.using(self.db).filter(client__in=self.values("pk"))
        closes = sent.filter(close_code__isnull=False)
        with self.atomic():
            closes.discard(timezone.now(), "it is wanted open again")
            return self.exclude(desired=Desired.RUN).update(desired=Desired.RUN)

    def stop(self) -> int:
        """Want these clients closed; return how many were to run."""
        return self.exclude(desired=Desired.STOP).update(desired=Desired.STOP)

    def reconnect(self) -> int:
        """Let the runner close these clients' connections and open new ones; return how many."""
        return self.filter(desired=Desired.RUN).update(generation=F("generation") + 1)

    def remove_over(self, now: datetime) -> list[Client]:
        """Delete the ephemeral clients that have ended, and those that nobody waits for any more.

        Returns them with `unsent`, how many messages went with them that hadn't arrived.
        """
        unawaited = Q(runtime__awaited_until__isnull=True, runtime__ended_at__isnull=False)
        over = self.filter(unawaited | Q(runtime__awaited_until__lte=now))
        free = over.filter(ephemeral=True, runtime__holder__isnull=True)
        unsent = Count("outboxmessage", filter=Q(outboxmessage__status__in=UNSENT))
        with self.atomic():
            removed = list(free.annotate(unsent=unsent))
            if removed:
                self.filter(pk__in=[client.pk for client in removed]).delete()
        return removed

    def without_runtime(self) -> ClientQuerySet:
        """Return the clients that no runner has seen yet."""
        return self.filter(runtime__isnull=True)


_ClientManager = DescriptorManager.from_queryset(ClientQuerySet)


class ClientManager(_ClientManager["Client"]):
    """The manager of clients; migrations name it."""


class Client(Descriptor):
    """The stored descriptor of an outbound connection."""

    field_validators: ClassVar = {
        **Descriptor.field_validators,
        "backoff_base": validators.validate_seconds,
        "backoff_ceiling": validators.validate_seconds,
        "ca_certificates": validators.validate_certificates,
        "headers": validators.validate_headers,
        "message_ttl": validators.validate_seconds,
        "name": validators.validate_name,
        "origin": validators.validate_origin,
        "ping_interval": validators.validate_seconds,
        "ping_timeout": validators.validate_seconds,
        "proxy": validators.validate_proxy,
        "stable_after": validators.validate_seconds,
        "uri": validators.validate_uri,
    }

    name = ExactCharField(_("name"), max_length=100, unique=True)
    uri = models.CharField(
        _("URI"),
        max_length=2000,
        help_text=_(
            "ws://… or wss://…; env:NAME anywhere in it reads the runner's environment, as in "
            "wss://example.com/?token=env:TOKEN."
        ),
    )
    desired = models.CharField(
        _("desired"), max_length=5, choices=choices.DESIRED, default=Desired.RUN.value
    )
    headers = models.JSONField(
        _("headers"),
        default=dict,
        blank=True,
        help_text=_(
            'A JSON object, as {"Authorization": "Bearer env:TOKEN"}: env:NAME reads the '
            "runner's environment, so that no secret stands here."
        ),
    )
    origin = models.CharField(_("Origin header"), max_length=255, blank=True)
    verify_tls = models.BooleanField(_("verify the TLS certificate"), default=True)
    ca_certificates = models.TextField(
        _("CA certificates"),
        blank=True,
        help_text=_("PEM; trusted instead of the system's own."),
    )
    proxy = models.CharField(
        _("proxy"),
        max_length=2000,
        blank=True,
        help_text=_(
            "http://… or socks5://…; none: a direct connection, whatever the environment says."
        ),
    )
    compression = models.BooleanField(_("compression"), default=False)
    open_timeout = models.FloatField(
        _("open timeout"),
        default=10.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(300)],
    )
    close_timeout = models.FloatField(
        _("close timeout"), default=5.0, validators=[MinValueValidator(0.1), MaxValueValidator(60)]
    )
    ping_interval = models.FloatField(
        _("ping interval"),
        default=20.0,
        validators=[MinValueValidator(0)],
        help_text=_("Seconds between two pings; 0: none."),
    )
    ping_timeout = models.FloatField(
        _("ping timeout"), default=20.0, validators=[MinValueValidator(0.1)]
    )
    backoff_base = models.FloatField(
        _("first backoff"),
        default=1.0,
        validators=[MinValueValidator(0.1)],
        help_text=_("Seconds; doubled at each failure."),
    )
    backoff_ceiling = models.FloatField(
        _("longest backoff"), default=60.0, validators=[MinValueValidator(0.1)]
    )
    stable_after = models.FloatField(
        _("stable after"),
        default=30.0,
        validators=[MinValueValidator(0)],
        help_text=_("Seconds that a connection must last before the backoff starts anew."),
    )

    on_uncertain = models.CharField(
        _("when nobody knows whether a message arrived"),
        max_length=6,
        choices=choices.ON_UNCERTAIN,
        default=OnUncertain.HOLD.value,
        help_text=_("Only the peer can make it exactly once, by an id in the message."),
    )
    message_ttl = models.FloatField(
        _("messages expire after"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1)],
        help_text=_("Seconds that a message may wait to be sent; empty: for ever."),
    )
    ephemeral = models.BooleanField(
        _("ephemeral"),
        default=False,
        editable=False,
        help_text=_("Lives as long as its one connection, as code asked for it."),
    )
    generation = models.PositiveBigIntegerField(
        _("generation"),
        default=0,
        editable=False,
        help_text=_("Grows when somebody closes its connection; the runner then opens another."),
    )

    objects = ClientManager()

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")
        ordering = ("name",)
        base_manager_name = "objects"
        constraints = (
            choices.one_of("desired", Desired),
            choices.one_of("on_handler_error", OnHandlerError),
            choices.one_of("on_uncertain", OnUncertain),
            choices.one_of("record_messages", MessageRecording),
            choices.one_row_a_file(),
        )

    def __str__(self) -> str:
        return tame(self.name)

    def contradictions(self) -> dict[str, ValidationError]:
        found = super().contradictions()
        if self.backoff_base > self.backoff_ceiling:
            found["backoff_base"] = ValidationError(
                _("Write at most %(most)g seconds, the longest backoff."),
                params={"most": self.backoff_ceiling},
            )
        return found | self._refused_variables()

    def refused_variables(self) -> dict[str, list[str]]:
        """Return the variables that the row names but `CLIENT_ENVIRONMENT` doesn't, by field."""
        allowed = AllowedVariables(app_settings.CLIENT_ENVIRONMENT)
        headers = self.headers.values() if isinstance(self.headers, dict) else ()
        texts = {"uri": self.uri, "headers": " ".join(map(str, headers)), "proxy": self.proxy}
        refused = {
            field: [name for name in names_in(text) if name not in allowed]
            for field, text in texts.items()
        }
        return {field: names for field, names in refused.items() if names}

    def _refused_variables(self) -> dict[str, ValidationError]:
        text = _(
            "WEBSOCKETS['CLIENT_ENVIRONMENT'] doesn't allow env:%(name)s. Add the name to that "
            "setting or use another variable."
        )
        return {
            field: ValidationError(
                [
                    ValidationError(text, code="environment", params={"name": name})
                    for name in names
                ]
            )
            for field, names in self.refused_variables().items()
        }
