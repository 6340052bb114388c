"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WebsocketsConfig(AppConfig):
    """Connects the receivers and registers the system checks; starts nothing."""

    name = "websockets_app"
    verbose_name = _("WebSockets")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - importing registers them
        from .dispatch import autoreload
        from .inbound import logouts
        from .models import receivers
        from .node import nudges

        autoreload.connect()
        logouts.connect()
        receivers.connect(self)
        nudges.connect()
