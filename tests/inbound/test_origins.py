from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from tests.inbound.test_registry import config
from websockets_app.inbound.handshake import Handshake
from websockets_app.inbound.origins import refusal


def refused(headers: dict[str, str], scheme: str | None = "ws", **fields: Any) -> str:
    sent = {"host": "example.com", **headers}
    scope: dict[str, Any] = {"headers": [(k.encode(), v.encode()) for k, v in sent.items()]}
    if scheme is not None:
        scope["scheme"] = scheme
    row = config(1, "a", **{"access": "authenticated", **fields})
    return refusal(Handshake(scope=scope, params={}), row)


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.trusted.test", "https://exact.test:8443"]


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({"origin": "http://example.com"}, "ws"),
        ({"origin": "http://example.com:80"}, "ws"),
        ({"origin": "https://example.com"}, "wss"),
        ({"origin": "http://example.com:8000", "host": "example.com:8000"}, "ws"),
        ({"origin": "https://example.com"}, None),  # Daphne tells no scheme
        ({"origin": "https://a.trusted.test"}, "ws"),
        ({"origin": "https://exact.test:8443"}, "ws"),
    ],
)
def test_the_sites_own_and_trusted_origins_enter(headers: dict[str, str], scheme: str) -> None:
    assert refused(headers, scheme) == ""


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({"origin": "https://example.com"}, "ws"),
        ({"origin": "http://example.com"}, "wss"),
        ({"origin": "http://example.com:8000"}, "ws"),
        ({"origin": "http://evil.test"}, "ws"),
        ({"origin": "http://evil.test"}, None),
        ({"origin": "http://example.com.evil.test"}, "ws"),
        ({"origin": "http://trusted.test.evil.test"}, "ws"),
        ({"origin": "http://a.trusted.test"}, "ws"),
        ({"origin": "https://exact.test"}, "ws"),
        ({"origin": "null"}, "ws"),
        ({"origin": ""}, "ws"),
        ({"origin": "http://[bad"}, "ws"),
        ({"origin": "http://evil.test", "host": "evil.test"}, "ws"),  # rebound DNS
    ],
)
def test_every_other_origin_is_refused_with_a_reason(headers: dict[str, str], scheme: str) -> None:
    assert refused(headers, scheme) != ""


def test_allowed_hosts_of_any_open_nothing(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert "evil.test" in refused({"origin": "http://evil.test"})


def test_a_missing_origin_enters_where_the_row_says_so_or_everybody_may() -> None:
    assert "missing" in refused({})
    assert refused({}, allow_missing_origin=True) == ""
    assert refused({}, access="public") == ""


def test_a_row_may_list_further_origins() -> None:
    assert refused({"origin": "https://app.test"}, origins=("https://app.test",)) == ""
    assert refused({"origin": "https://x.app.test"}, origins=("https://*.app.test",)) == ""
    assert refused({"origin": "null"}, origins=("null",)) == ""
    assert refused({"origin": "https://any.test"}, origins=("*",)) == ""
    assert refused({"origin": "http://app.test"}, origins=("https://app.test",)) != ""


def test_a_proxys_scheme_counts_where_the_site_trusts_it(settings: Settings) -> None:
    headers = {"origin": "https://example.com", "x-forwarded-proto": "https"}
    assert refused(headers, "ws") != ""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert refused(headers, "ws") == ""
    assert refused({**headers, "origin": "http://example.com"}, "ws") != ""


def test_a_proxys_host_counts_where_the_site_trusts_it(settings: Settings) -> None:
    headers = {
        "origin": "http://example.com",
        "host": "10.0.0.1",
        "x-forwarded-host": "example.com",
    }
    assert refused(headers) != ""
    settings.USE_X_FORWARDED_HOST = True
    assert refused(headers) == ""
