"""The user of an open session, as a poll has read the row again."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any, Final

from django.db.models import Model
from django.utils.functional import LazyObject

_CACHES: Final = {
    "_group_perm_cache", "_perm_cache", "_prefetched_objects_cache", "_user_perm_cache",
}  # fmt: skip
"""What Django keeps on a user that may be outdated although the row is unchanged."""


def has_changed(user: Any, row: Any) -> bool:
    """Tell whether handlers should get `row` instead of `user`, who is the same person."""
    if user is row:  # without a row
        return False
    user, now = _unwrapped(user), vars(row)
    before = vars(user)
    return (
        any(before.get(field.attname, row) != now[field.attname] for field in _fields(row))
        or not _CACHES.isdisjoint(before)
        or bool(user._state.fields_cache)
    )


def successor(user: Any, row: Any, is_taken: bool) -> Any:
    """Return what handlers get instead of `user`: the `row`, and what a middleware added to it.

    Each session has a user of its own: a copy, if another session has the row already.
    """
    added = _added(_unwrapped(user), row)
    if added or is_taken:
        row = copy.copy(row)
    vars(row).update(added)
    return row


def _added(user: Any, row: Any) -> dict[str, Any]:
    """Return the attributes that are neither fields nor caches."""
    return {
        name: value
        for name, value in vars(user).items()
        if name not in vars(row)
        and name not in _CACHES
        and not isinstance(getattr(type(row), name, None), cached_property)
    }


def _fields(row: Model) -> Any:
    return row._meta.concrete_fields


def _unwrapped(user: Any) -> Any:
    """Return the model instance that a middleware's lazy object stands for."""
    return user._wrapped if isinstance(user, LazyObject) else user
