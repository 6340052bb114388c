"""Credentials without encryption, and peers that nobody verifies."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from websockets_app.checks.transport import check_client_encryption, check_redirect
from websockets_app.models import Client


def check(**fields: Any) -> list[str]:
    """Return the ids of the messages about such a client."""
    row = Client.objects.create(
        **{"name": "feed", "uri": "ws://x.example/", "handler": "handlers.printer", **fields}
    )
    messages = check_client_encryption(databases=["default"])
    assert all(message.obj == row for message in messages)
    assert not any("s3cret" in f"{message.msg}{message.hint}" for message in messages)
    return [str(message.id).removeprefix("websockets_app.") for message in messages]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "ws://me:s3cret@x.example/"},
        {"uri": "ws://env:USER:env:PASSWORD@x.example/"},
        {"uri": "ws://x.example/?token=s3cret"},
        {"uri": "ws://x.example/?api-key=s3cret"},
        {"uri": "ws://x.example/?t=env:TOKEN"},
        {"uri": "ws://x.example/env:TOKEN/feed"},
        {"headers": {"Authorization": "Bearer s3cret"}},
        {"headers": {"X-One": "1", "Cookie": "sessionid=s3cret"}},
        {"headers": {"X-Other": "env:TOKEN"}},
        {"uri": "ws://env:HOST/", "headers": {"Authorization": "env:TOKEN"}},
        {"uri": "ws://10.0.0.1/?token=s3cret"},
    ],
)
def test_credentials_of_a_client_that_go_out_without_encryption(fields: dict[str, Any]) -> None:
    assert check(**fields) == ["W061"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"uri": "wss://me:s3cret@x.example/?token=s3cret"},
        {"uri": "ws://x.example/?symbol=BTC", "headers": {"X-One": "1"}},
        {"uri": "ws://env:HOST/feed"},
        {"uri": "ws://127.0.0.1:8000/?token=s3cret"},
        {"uri": "ws://[::1]:8000/?token=s3cret"},
        {"uri": "ws://localhost:8000/?token=s3cret"},
        {"verify_tls": False},
        {"headers": ["no object"]},
        {"uri": "ws://[broken"},
    ],
)
def test_a_client_that_sends_no_credentials_or_encrypts_them(fields: dict[str, Any]) -> None:
    assert check(**fields) == []


@pytest.mark.django_db
def test_a_client_that_does_not_verify_its_peer() -> None:
    assert check(uri="wss://x.example/", verify_tls=False) == ["W062"]


def test_a_redirect_to_https_leaves_websockets_out(settings: Settings) -> None:
    assert check_redirect() == []
    settings.SECURE_SSL_REDIRECT = True
    assert [message.id for message in check_redirect()] == ["websockets_app.W060"]


@pytest.mark.django_db
def test_only_a_check_for_deployment_warns(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    expected = {"websockets_app.W060", "websockets_app.W062"}
    check(uri="wss://x.example/", verify_tls=False)
    options: Any = {"databases": ["default"], "tags": ["websockets"]}
    assert not expected & {message.id for message in run_checks(**options)}
    found = {message.id for message in run_checks(include_deployment_checks=True, **options)}
    assert expected <= found
