from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from tests.inbound.test_registry import config
from websockets_app.inbound.handshake import Handshake
from websockets_app.inbound.origins import refusal


def refused(headers: dict[str, str], scheme: str | None = "ws", **fields: Any) -> str:
    sent = {"host": "example.com", **headers}
    scope: dict[str, Any] = {
        "headers": [(k.encode(), v.encode("latin-1", "replace")) for k, v in sent.items()]
    }
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
        ({"origin": "HTTP://EXAMPLE.COM"}, "ws"),
        ({"origin": "http://example.com.", "host": "example.com."}, "ws"),
        ({"origin": "https://a.trusted.test"}, "ws"),
        ({"origin": "https://a.b.TRUSTED.test:443"}, "ws"),
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
        ({"origin": "http://example.com."}, "ws"),
        ({"origin": "http://sub.example.com"}, "ws"),
        ({"origin": "http://example.com:0"}, "ws"),
        ({"origin": "http://example.com:99999"}, "ws"),
        ({"origin": "http://tom@example.com"}, "ws"),
        ({"origin": "http://evil.test@example.com"}, "ws"),
        ({"origin": "http://example.com@evil.test"}, "ws"),
        ({"origin": "http://evil.test#@example.com"}, "ws"),
        ({"origin": "http://evil.test\\@example.com"}, "ws"),
        ({"origin": "http://evil.test\\.example.com"}, "ws"),
        ({"origin": "http://example.com\\.evil.test"}, "ws"),
        ({"origin": "http://example.com/.evil.test"}, "ws"),
        ({"origin": "http://example.com?.evil.test"}, "ws"),
        ({"origin": "http://exam\tple.com"}, "ws"),
        ({"origin": " http://example.com"}, "ws"),
        ({"origin": "http://example.com, http://evil.test"}, "ws"),
        ({"origin": "http://evil.test, http://example.com"}, "ws"),
        ({"origin": "http://еxample.com"}, "ws"),  # a Cyrillic letter
        ({"origin": "http://xn--xample-2of.com"}, "ws"),  # the same, as browsers send it
        ({"origin": "//example.com"}, "ws"),
        ({"origin": "example.com"}, "ws"),
        ({"origin": "file://"}, "ws"),
        ({"origin": "file://example.com"}, "ws"),
        ({"origin": "chrome-extension://example.com"}, "ws"),
        ({"origin": "https://trusted.test.evil.test:443"}, "ws"),
        ({"origin": "https://xtrusted.test"}, "ws"),
        ({"origin": "https://.trusted.test.evil.test"}, "ws"),
        ({"origin": "http://[::1]"}, "ws"),
        ({"origin": "http://example.com", "host": ""}, "ws"),
        ({"origin": "http://example.com", "host": "evil.test"}, "ws"),
        ({"origin": "http://example.com", "host": "example.com@evil.test"}, "ws"),
        ({"origin": "http://example.com", "host": "example.com, evil.test"}, "ws"),
    ],
)
def test_every_other_origin_is_refused_with_a_reason(headers: dict[str, str], scheme: str) -> None:
    assert refused(headers, scheme) != ""


@pytest.mark.parametrize("host", ["[::1]", "[::1]:8000", "[2001:db8::1]", "xn--bcher-kva.test"])
def test_addresses_and_foreign_letters_are_origins_as_browsers_write_them(
    settings: Settings, host: str
) -> None:
    settings.ALLOWED_HOSTS = ["[::1]", "[2001:db8::1]", "xn--bcher-kva.test"]
    assert refused({"origin": f"http://{host}", "host": host}) == ""
    assert refused({"origin": "http://[::2]", "host": host}) != ""
    assert refused({"origin": f"http://{host}.evil.test", "host": host}) != ""


@pytest.mark.parametrize("twice", ["origin", "host"])
def test_a_header_that_comes_twice_is_not_believed(twice: str) -> None:
    own, other = {"origin": "http://example.com", "host": "example.com"}, {
        "origin": "http://evil.test", "host": "evil.test",
    }  # fmt: skip
    for first, second in ((own, other), (other, own)):
        sent = [*own.items()]
        sent.remove((twice, own[twice]))
        sent += [(twice, first[twice]), (twice, second[twice])]
        scope = {"scheme": "ws", "headers": [(k.encode(), v.encode()) for k, v in sent]}
        assert refusal(Handshake(scope=scope, params={}), config(1, "a", access="public")) != ""


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


def test_the_scheme_is_https_under_daphne_if_the_site_redirects_to_it(settings: Settings) -> None:
    assert refused({"origin": "http://example.com"}, None) == ""
    settings.SECURE_SSL_REDIRECT = True
    assert refused({"origin": "http://example.com"}, None) != ""
    assert refused({"origin": "https://example.com"}, None) == ""
