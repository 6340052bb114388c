"""The setting WEBSOCKETS: every key has its default, and is read when it is asked for."""

from __future__ import annotations

import inspect

import pytest
from pytest_django import Settings

from websockets_app.conf import WebsocketsSettings, app_settings


def test_a_key_that_is_not_set_has_its_default(settings: Settings) -> None:
    settings.WEBSOCKETS = {}
    assert app_settings.PREFIX == "websockets/v4/service/"
    assert app_settings.RECORDING == "background"
    del settings.WEBSOCKETS
    assert app_settings.PREFIX == "websockets/v4/service/"


def test_a_key_that_is_set_is_read_at_each_asking(settings: Settings) -> None:
    settings.WEBSOCKETS = {"PREFIX": "ws/"}
    assert app_settings.PREFIX == "ws/"
    settings.WEBSOCKETS = {"PREFIX": "sockets/"}
    assert app_settings.PREFIX == "sockets/"


def test_a_value_of_none_is_a_value(settings: Settings) -> None:
    settings.WEBSOCKETS = {"CHANNEL_LAYER": None}
    assert app_settings.CHANNEL_LAYER is None


def test_what_is_no_key_is_an_error(settings: Settings) -> None:
    settings.WEBSOCKETS = {"NO_SUCH_KEY": 1}
    with pytest.raises(AttributeError):
        _ = app_settings.NO_SUCH_KEY


def test_the_keys_are_those_with_a_default_and_each_is_described() -> None:
    keys = app_settings.keys()
    assert {"PREFIX", "HANDLER_PACKAGES", "ENGINES", "RECORDING", "CHANNEL_LAYER"} <= set(keys)
    assert all(key.isupper() for key in keys)
    source = inspect.getsource(WebsocketsSettings)
    for key in keys:
        _, _, after = source.partition(f"\n    {key}: ")
        assert after.split("\n")[1].strip().startswith('"""'), f"{key} is not described"
