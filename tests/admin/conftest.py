"""Fixtures for tests of the admin's pages: people with permissions, and rows of history."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.utils import timezone

from websockets_app.models import Endpoint, Event, Node, Session


@pytest.fixture
def staff_browser(db: None) -> Callable[..., Browser]:
    """Log somebody in who has just these permissions of the app."""
    numbers = itertools.count(1)

    def log_in(*codenames: str) -> Browser:
        user = User.objects.create_user(f"staff{next(numbers)}", is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="websockets_app", codename__in=codenames
        )
        assert len(found) == len(codenames)
        user.user_permissions.set(found)
        browser = Browser()
        browser.force_login(user)
        return browser

    return log_in


@pytest.fixture
def make_session(db: None) -> Callable[..., Session]:
    """Write the row of a session, open unless `closed` is given."""
    numbers = itertools.count(1)

    def make(endpoint: Endpoint | None = None, **columns: Any) -> Session:
        now = timezone.now()
        row = {
            "id": f"{next(numbers):032x}",
            "endpoint_id": endpoint.pk if endpoint else 4711,
            "endpoint_path": endpoint.endpoint if endpoint else "long/gone",
            "handler": "handlers.echo",
            "node_id": "f" * 32,
            "path": "/websockets/v4/service/echo",
            "opened_at": now,
            **columns,
        }
        if row.get("close_cause"):
            row.setdefault("closed_at", now)
        return Session.objects.create(**row)

    return make


@pytest.fixture
def make_event(db: None) -> Callable[..., Event]:
    numbers = itertools.count(1)

    def make(kind: str, **columns: Any) -> Event:
        number = next(numbers)
        return Event.objects.create(
            **{"kind": kind, "at": timezone.now(), "seq": number, "node_id": "f" * 32, **columns}
        )

    return make


@pytest.fixture
def make_node(db: None) -> Callable[..., Node]:
    numbers = itertools.count(1)

    def make(**columns: Any) -> Node:
        now = timezone.now()
        number = next(numbers)
        return Node.objects.create(
            **{
                "id": f"{number:032x}", "kind": "server", "hostname": f"host{number}",
                "pid": number, "started_at": now, "renewed_at": now, **columns,
            }
        )  # fmt: skip

    return make
