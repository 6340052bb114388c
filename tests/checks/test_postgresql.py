"""A pool of connections that is too small for this app alone is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from websockets_app.checks.postgresql import check_pool


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made: dict[str, Any] = {}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", made)
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    return made


@pytest.mark.parametrize("pool", [True, {"max_size": 8}, {"min_size": 8}, {"max_size": None}])
def test_a_pool_without_room_for_everybody_is_told(options: dict[str, Any], pool: Any) -> None:
    options["pool"] = pool
    assert [message.id for message in check_pool()] == ["websockets_app.W033"]


@pytest.mark.parametrize("pool", [None, False, {"max_size": 9}, {"min_size": 9}])
def test_a_pool_with_room_or_none_at_all_is_fine(options: dict[str, Any], pool: Any) -> None:
    options["pool"] = pool
    assert check_pool() == []


def test_other_databases_know_no_pool(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options["pool"] = True
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    assert check_pool() == []


@pytest.mark.parametrize("wrong", [[], {"SYNC_THREADS": "32"}], ids=repr)
def test_a_setting_of_another_type_is_left_to_its_own_check(
    options: dict[str, Any], settings: Settings, wrong: Any
) -> None:
    options["pool"] = True
    settings.WEBSOCKETS = wrong
    assert check_pool() == []
