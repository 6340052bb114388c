"""Notice what a migration may have changed in the descriptors by SQL of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.db import router
from django.db.models import signals

from .client import Client
from .descriptor import new_revision
from .endpoint import Endpoint


def connect(sender: object) -> None:
    """Connect the receiver to the app `sender`; called once, when it is ready."""
    signals.post_migrate.connect(
        draw_revisions, sender=sender, dispatch_uid="websockets_app.post_migrate"
    )


def draw_revisions(
    using: str, apps: Apps = global_apps, plan: Sequence[object] = (), **kwargs: Any
) -> None:
    """Draw new revisions of all rows if `migrate` ran any migration, of whichever app."""
    for model in (Endpoint, Client) if plan else ():
        if not router.allow_migrate_model(using, model):
            continue
        try:
            migrated = apps.get_model(model._meta.label)
        except LookupError:  # migrated back to zero: there is no table
            continue
        migrated._default_manager.using(using).update(revision=new_revision())
