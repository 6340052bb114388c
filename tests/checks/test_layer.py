"""The channel layer: whether it reaches other processes, and lives through idle times."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from websockets_app.checks import layer

REDIS = "channels_redis.core.RedisChannelLayer"
URL = "redis://localhost:6379/0"


def ids(messages: list[Any]) -> list[str]:
    return [str(message.id).removeprefix("websockets_app.") for message in messages]


def redis_layer(settings: Settings, hosts: Any) -> None:
    config = {} if hosts is None else {"hosts": hosts}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": config}}


@pytest.fixture
def redis_py(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda installed: monkeypatch.setattr(layer, "version", lambda name: installed)


def test_the_demo_is_fine() -> None:
    assert layer.check_layer() == []


def test_a_layer_that_is_not_configured(settings: Settings) -> None:
    settings.WEBSOCKETS = {"CHANNEL_LAYER": "other"}
    assert ids(layer.check_layer()) == ["E020"]
    settings.CHANNEL_LAYERS = {"other": {"BACKEND": REDIS}}
    assert layer.check_layer() == []


@pytest.mark.parametrize(
    ("layers", "alias", "expected"),
    [
        ({}, "default", ["W021"]),
        ({"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}, "default", ["W021"]),
        ({"default": {"BACKEND": REDIS}}, None, ["W021"]),
        ({"default": {"BACKEND": REDIS}}, "default", []),
        ({"default": {"BACKEND": "somebody.elses.Layer"}}, "default", []),
    ],
)
def test_a_layer_that_spans_no_processes(
    settings: Settings, layers: Any, alias: str | None, expected: list[str]
) -> None:
    settings.CHANNEL_LAYERS = layers
    settings.WEBSOCKETS = {"CHANNEL_LAYER": alias}
    assert ids(layer.check_layer_spans_processes()) == expected


@pytest.mark.parametrize(
    "hosts",
    [
        None,
        [URL],
        [("localhost", 6379)],
        [{"address": URL}],
        [{"address": URL, "socket_timeout": None}, URL],
        [{"address": URL, "socket_timeout": 5}],
        [f"{URL}?socket_timeout=3"],
    ],
)
def test_connections_that_time_out_while_they_wait(
    settings: Settings, redis_py: Any, hosts: Any
) -> None:
    redis_py("8.0.0")
    redis_layer(settings, hosts)
    assert ids(layer.check_layer()) == ["W022"]


@pytest.mark.parametrize(
    "hosts",
    [
        [{"address": URL, "socket_timeout": None}],
        [{"host": "localhost", "port": 6379, "socket_timeout": 30}],
        [f"{URL}?socket_timeout=30"],
    ],
)
def test_connections_that_wait_longer(settings: Settings, redis_py: Any, hosts: Any) -> None:
    redis_py("8.0.0")
    redis_layer(settings, hosts)
    assert layer.check_layer() == []


def test_older_versions_have_no_timeout_by_default(settings: Settings, redis_py: Any) -> None:
    redis_py("7.4.1")
    redis_layer(settings, [URL])
    assert layer.check_layer() == []
    redis_layer(settings, [{"address": URL, "socket_timeout": 5}])
    assert ids(layer.check_layer()) == ["W022"]


def test_settings_that_are_wrong_are_left_to_their_own_check(settings: Settings) -> None:
    settings.WEBSOCKETS = ["wrong"]
    assert layer.check_layer() == []
    assert layer.check_layer_spans_processes() == []
