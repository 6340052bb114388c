"""Receivers that notice that a descriptor changed. The nodes' poll is the truth behind them."""

from __future__ import annotations

from typing import Any

from django.db.models import signals

from .client import Client
from .descriptor import Descriptor, announce_after_commit, new_revision
from .endpoint import Endpoint, EndpointGroup

DESCRIPTORS: tuple[type[Descriptor], ...] = (Endpoint, Client)


def connect() -> None:
    """Connect the receivers; called once, when the app is ready."""
    for model in DESCRIPTORS:
        key = f"websockets_app.{model.__name__}"
        signals.pre_save.connect(draw_revision, sender=model, dispatch_uid=f"{key}.pre_save")
        signals.post_save.connect(announce, sender=model, dispatch_uid=f"{key}.post_save")
        signals.post_delete.connect(announce, sender=model, dispatch_uid=f"{key}.post_delete")
    through = "websockets_app.EndpointGroup"
    signals.pre_save.connect(
        touch_former_endpoint, sender=EndpointGroup, dispatch_uid=f"{through}.pre_save"
    )
    signals.post_save.connect(
        touch_endpoint, sender=EndpointGroup, dispatch_uid=f"{through}.post_save"
    )
    signals.post_delete.connect(
        touch_endpoint, sender=EndpointGroup, dispatch_uid=f"{through}.post_delete"
    )
    signals.m2m_changed.connect(
        touch_endpoints, sender=EndpointGroup, dispatch_uid=f"{through}.m2m_changed"
    )


def draw_revision(instance: Descriptor, **kwargs: Any) -> None:
    """Draw a new revision on each save; also a raw one (`loaddata`), which skips `save()`."""
    instance.revision = new_revision()


def announce(sender: type[Descriptor], using: str, **kwargs: Any) -> None:
    announce_after_commit(sender, using)


def touch_former_endpoint(instance: EndpointGroup, using: str, **kwargs: Any) -> None:
    """Notice that the row of one endpoint becomes another's."""
    stored = EndpointGroup.objects.using(using).filter(pk=instance.pk)
    Endpoint.touch(list(stored.values_list("endpoint", flat=True)), using)


def touch_endpoint(instance: EndpointGroup, using: str, **kwargs: Any) -> None:
    Endpoint.touch([instance.endpoint_id], using)


def touch_endpoints(
    instance: Any, action: str, reverse: bool, pk_set: set[int] | None, using: str, **kwargs: Any
) -> None:
    """Notice `endpoint.groups.add(…)` and, from the other side, `group.endpoint_set.add(…)`."""
    if not reverse:
        Endpoint.touch([instance.pk], using)
    elif action == "pre_clear":  # afterwards nobody knows which endpoints those were
        concerned = Endpoint.objects.using(using).filter(groups=instance)
        Endpoint.touch(list(concerned.values_list("pk", flat=True)), using)
    elif pk_set:
        Endpoint.touch(list(pk_set), using)
