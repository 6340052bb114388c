"""The cache for what handlers share: whether it is there, and the same for all processes."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from websockets_app.checks.shared import check_shared_cache

BACKENDS = "django.core.cache.backends"


def ids() -> list[str]:
    return [str(message.id).removeprefix("websockets_app.") for message in check_shared_cache()]


def test_the_table_is_fine() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (f"{BACKENDS}.redis.RedisCache", []),
        (f"{BACKENDS}.db.DatabaseCache", []),
        ("somebody.elses.Cache", []),
        (f"{BACKENDS}.locmem.LocMemCache", ["W051"]),
        (f"{BACKENDS}.dummy.DummyCache", ["W051"]),
        (f"{BACKENDS}.filebased.FileBasedCache", ["W051"]),
    ],
)
def test_a_cache_of_one_process_is_told(
    settings: Settings, backend: str, expected: list[Any]
) -> None:
    settings.CACHES = {"default": {"BACKEND": backend}}
    settings.WEBSOCKETS = {"SHARED_CACHE": "default"}
    assert ids() == expected


def test_a_cache_that_is_not_there(settings: Settings) -> None:
    settings.WEBSOCKETS = {"SHARED_CACHE": "nowhere"}
    assert ids() == ["E050"]
    settings.WEBSOCKETS = {"SHARED_CACHE": 1}  # which another check tells
    assert ids() == []
