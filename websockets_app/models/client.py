"""Clients: what the admin wants of an outbound connection, and what its runner knows of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from ..core.states import ClientState, Desired, MessageRecording, OnHandlerError
from . import choices
from .descriptor import Descriptor, DescriptorQuerySet


class ClientQuerySet(DescriptorQuerySet["Client"]):
    """Clients, as a runner asks for them."""

    def desired_to_run(self, names: list[str] | None = None) -> ClientQuerySet:
        """Return the clients that should run, those of `names` only where there are any."""
        wanted = self.filter(desired=Desired.RUN)
        return wanted.filter(name__in=names) if names else wanted

    def run(self) -> int:
        """Want these clients connected; return how many were stopped."""
        return self.exclude(desired=Desired.RUN).update(desired=Desired.RUN)

    def stop(self) -> int:
        """Want these clients closed; return how many were to run."""
        return self.exclude(desired=Desired.STOP).update(desired=Desired.STOP)

    def without_runtime(self) -> ClientQuerySet:
        """Return the clients that no runner has seen yet."""
        return self.filter(runtime__isnull=True)


class Client(Descriptor):
    """The stored descriptor of an outbound connection."""

    name = models.CharField(_("name"), max_length=100, unique=True)
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

    objects = ClientQuerySet.as_manager()

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")
        ordering = ("name",)
        base_manager_name = "objects"
        constraints = (
            choices.one_of("desired", Desired),
            choices.one_of("on_handler_error", OnHandlerError),
            choices.one_of("record_messages", MessageRecording),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if not self.uri.startswith(("ws://", "wss://")):
            raise ValidationError({"uri": _("Write a URI that starts with ws:// or wss://.")})
        headers = self.headers
        if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
            raise ValidationError({"headers": _("Write a JSON object of strings.")})


class ClientRuntimeQuerySet(models.QuerySet["ClientRuntime"]):
    """The runner's own writes: each names holder and epoch, so that a late one hits nothing."""

    def claim(self, client_id: int, node_id: str) -> int | None:
        """Make `node_id` the holder of a client that nobody holds.

        Returns the epoch that every later write must name, or None where somebody was faster.
        """
        claimed = self.filter(client_id=client_id, holder__isnull=True).update(
            holder_id=node_id, epoch=F("epoch") + 1
        )
        if not claimed:
            return None
        return (
            self.filter(client_id=client_id, holder_id=node_id)
            .values_list("epoch", flat=True)
            .get()
        )

    def write(self, client_id: int, node_id: str, epoch: int, **values: Any) -> bool:
        """Write `values` if the lease still stands; tell whether it did.

        Among them `holder_id=None` gives the client back.
        """
        return bool(
            self.filter(client_id=client_id, holder_id=node_id, epoch=epoch).update(**values)
        )

    def release_all_of(self, node_id: str, state: ClientState, reason: str, at: datetime) -> int:
        """Give back everything that `node_id` holds; return how many clients that were."""
        return self.filter(holder_id=node_id).update(
            holder_id=None,
            epoch=F("epoch") + 1,
            state=state,
            reason=reason,
            since=at,
            next_attempt_at=None,
            opened_at=None,
        )

    def held_by(self, node_id: str) -> dict[int, int]:
        """Return the epochs of the clients that `node_id` holds, by client."""
        return dict(self.filter(holder_id=node_id).values_list("client_id", "epoch"))

    def claimable(self, client_ids: list[int]) -> list[int]:
        """Return those of `client_ids` that nobody holds."""
        free = self.filter(client_id__in=client_ids, holder__isnull=True)
        return list(free.values_list("client_id", flat=True))


class ClientRuntime(models.Model):
    """What the runner knows of a client; written by runners only."""

    client = models.OneToOneField(
        Client, models.CASCADE, primary_key=True, related_name="runtime", verbose_name=_("client")
    )
    state = models.CharField(
        _("state"),
        max_length=12,
        choices=choices.CLIENT_STATE,
        default=ClientState.UNASSIGNED.value,
    )
    reason = models.TextField(_("reason"), blank=True)
    since = models.DateTimeField(_("since"), null=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    opened_at = models.DateTimeField(_("opened at"), null=True)
    connection_id = models.CharField(_("connection"), max_length=32, blank=True)
    subprotocol = models.CharField(_("subprotocol"), max_length=100, blank=True)
    messages_in = models.BigIntegerField(_("messages in"), default=0)
    messages_out = models.BigIntegerField(_("messages out"), default=0)
    holder = models.ForeignKey(
        "Node",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="held",
        verbose_name=_("runner"),
    )
    epoch = models.BigIntegerField(_("epoch"), default=0)

    objects = ClientRuntimeQuerySet.as_manager()

    class Meta:
        verbose_name = _("client's runtime")
        verbose_name_plural = _("clients' runtimes")
        constraints = (choices.one_of("state", ClientState),)
        indexes = (models.Index(fields=("state",), name="websockets_runtime_state"),)

    def __str__(self) -> str:
        return f"{self.client_id}: {self.state}"
