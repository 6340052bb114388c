"""The setting WEBSOCKETS: what is wrong with it is told, and what is right is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pytest_django import Settings

from websockets_app.checks.options import _WORDS, are_usable, check_options
from websockets_app.conf import WebsocketsSettings, app_settings


def ids(settings: Settings, **options: Any) -> list[str]:
    settings.WEBSOCKETS = options
    return [str(message.id).removeprefix("websockets_app.") for message in check_options()]


def test_the_demo_and_no_setting_at_all_are_fine(settings: Settings) -> None:
    assert check_options() == []
    del settings.WEBSOCKETS
    assert check_options() == []


def test_every_default_is_fine_when_it_is_written_out(settings: Settings) -> None:
    defaults = {key: getattr(WebsocketsSettings, key) for key in app_settings.keys()}  # noqa: SIM118
    assert ids(settings, **defaults) == []


def test_every_type_can_be_told_in_words() -> None:
    for wanted in get_type_hints(WebsocketsSettings).values():
        assert wanted in _WORDS or all(part in _WORDS for part in wanted.__args__)


@pytest.mark.parametrize("url", ["redis://localhost:6379/1", "rediss://x", "unix:///run/x.sock"])
def test_a_rate_store_is_a_url_of_redis(settings: Settings, url: str) -> None:
    assert ids(settings, RATE_STORE=url) == []


def test_a_wrong_url_of_a_rate_store_is_told_without_its_password(settings: Settings) -> None:
    assert ids(settings, RATE_STORE="http://:hunter2@example.com") == ["E004"]
    assert "hunter2" not in str(check_options())


def test_a_rate_store_needs_its_libraries(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "websockets_app.inbound.rate_store", raising=False)
    monkeypatch.setitem(sys.modules, "limits", None)
    assert ids(settings, RATE_STORE="redis://localhost") == ["E008"]


def test_it_has_to_be_a_dict(settings: Settings) -> None:
    settings.WEBSOCKETS = ["handlers"]
    (message,) = check_options()
    assert message.id == "websockets_app.E001"
    assert not are_usable()


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("HANDLER_PACKAGE", "Did you mean 'HANDLER_PACKAGES'?"),
        ("prefix", "Did you mean 'PREFIX'?"),
        ("COLOUR_OF_THE_SKY", "The keys are PREFIX, "),
    ],
)
def test_an_unknown_key_is_told_with_what_was_meant(
    settings: Settings, key: str, hint: str
) -> None:
    assert ids(settings, **{key: 1}) == ["E002"]
    assert str(check_options()[0].hint).startswith(hint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HANDLER_PACKAGES", "handlers"),
        ("HANDLER_PACKAGES", [1]),
        ("ENGINES", ["python"]),
        ("ENGINES", {"python": object}),
        ("EVENT_BUFFER", "50000"),
        ("EVENT_BUFFER", 1.5),
        ("SYNC_THREADS", True),
        ("POLL_INTERVAL", "fast"),
        ("CHANNEL_LAYER", 1),
        ("PREFIX", None),
        ("ALLOWED_CLIENT_HOSTS", "localhost"),
    ],
)
def test_a_value_of_another_type(settings: Settings, key: str, value: Any) -> None:
    assert ids(settings, **{key: value}) == ["E003"]
    assert key in str(check_options()[0].msg)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("RECORDING", "on"),
        ("REFUSE_WITH", "403"),
        ("TENANT_OF", "nowhere.schema_of"),
        ("TENANT_CONTEXT", "os.path.sep"),
        ("TENANT_OF", "os.path.join"),  # without the other one
        ("TENANT_CONTEXT", "contextlib.nullcontext"),
        ("SYNC_THREADS", 0),
        ("POLL_INTERVAL", -1),
        ("PREFIX", "ws/<slug:x>/"),
        ("PREFIX", "with space/"),
        ("PREFIX", "a//b/"),
        ("PREFIX", "a/../b/"),
        ("PREFIX", "caf%C3%A9/"),
        ("NODE_TTL", 1.0),
    ],
)
def test_a_value_that_is_not_allowed(settings: Settings, key: str, value: Any) -> None:
    assert ids(settings, **{key: value}) == ["E004"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("RECORDING", "off"),
        ("REFUSE_WITH", "close"),
        ("SYNC_THREADS", 1),
        ("POLL_INTERVAL", 1),
        ("PREFIX", ""),
        ("PREFIX", "/ws"),
        ("PREFIX", "café/a.b/"),
        ("CHANNEL_LAYER", None),
        ("HANDLER_PACKAGES", []),
        ("HANDLER_PACKAGES", ("handlers",)),
    ],
)
def test_values_that_are_allowed(settings: Settings, key: str, value: Any) -> None:
    assert ids(settings, **{key: value}) == []


@pytest.mark.parametrize("path", ["nowhere.Engine", "os.path.join", "handlers"])
def test_an_engine_that_is_none(settings: Settings, path: str) -> None:
    assert ids(settings, ENGINES={"python": path}) == ["E005"]


@pytest.mark.parametrize("name", ["my-handlers", "my/handlers", "", "handlers."])
def test_a_package_that_is_no_name(settings: Settings, name: str) -> None:
    assert ids(settings, HANDLER_PACKAGES=[name]) == ["E006"]


@pytest.mark.parametrize("name", ["no_such_package", "handlers.no_such_package", "no.such"])
def test_a_package_that_is_not_there(settings: Settings, name: str) -> None:
    assert ids(settings, HANDLER_PACKAGES=["handlers", name]) == ["W007"]
    assert are_usable()


def test_a_package_below_one_that_cannot_be_imported(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "check_broken").mkdir()
    (tmp_path / "check_broken" / "__init__.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert ids(settings, HANDLER_PACKAGES=["check_broken.inner"]) == ["W007"]
    assert "ZeroDivisionError" in str(check_options()[0].msg)


@pytest.mark.parametrize("entry", ["127.0.0.1", "10.0.0.0/8", "fd00::/8", "unix"])
def test_a_proxy_is_an_address_a_network_or_a_unix_socket(settings: Settings, entry: str) -> None:
    assert ids(settings, TRUSTED_PROXIES=[entry]) == []


@pytest.mark.parametrize("entry", ["nginx", "*", "10.0.0.1/8", "0.0.0.0/0", "::/0"])
def test_a_proxy_that_is_none_or_everybody_is_told(settings: Settings, entry: str) -> None:
    assert ids(settings, TRUSTED_PROXIES=["127.0.0.1", entry]) == ["E004"]
    assert repr(entry) in str(check_options())


@pytest.mark.parametrize("entry", ["FEED_TOKEN", "FEED_*"])
def test_a_variable_of_clients_is_a_name_or_a_prefix(settings: Settings, entry: str) -> None:
    assert ids(settings, CLIENT_ENVIRONMENT=[entry]) == []


@pytest.mark.parametrize("entry", ["*", "", "*_TOKEN", "FEED TOKEN"])
def test_an_entry_that_could_allow_everything_is_refused(settings: Settings, entry: str) -> None:
    assert ids(settings, CLIENT_ENVIRONMENT=["FEED_TOKEN", entry]) == ["E004"]
    assert repr(entry) in str(check_options()[0].msg)


@pytest.mark.parametrize("value", ["{}", "prefix-{}", "postgresql://me:{}@host/name"])
def test_an_allowed_variable_that_holds_a_secret_of_the_site_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    settings.SECRET_KEY = "a/long&secret"
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "another/secret")
    for setting, secret in (("SECRET_KEY", "a/long&secret"), ("DATABASES", "another/secret")):
        monkeypatch.setenv("SITE_SECRET", value.format(secret))
        assert ids(settings, CLIENT_ENVIRONMENT=["SITE_*"]) == ["W009"]
        (message,) = check_options()
        assert setting in str(message.msg)
        assert secret not in str(message)
        assert ids(settings, CLIENT_ENVIRONMENT=["SITE_OTHER"]) == []
