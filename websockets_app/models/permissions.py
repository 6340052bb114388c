"""Permissions by name, and whether Django's tables alone say who has them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from django.contrib.auth import get_backends, get_user_model
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import Permission, PermissionsMixin

from .primary import rows_to_write


def django_alone_decides() -> bool:
    """Tell whether what users may is in Django's own tables, and nowhere else."""
    backends = [type(backend) for backend in get_backends()]
    speaking = [
        backend
        for backend in backends
        if hasattr(backend, "has_perm") and not _answers_as(backend, BaseBackend)
    ]
    return bool(speaking) and all(_answers_as(backend, ModelBackend) for backend in speaking)


_ANSWERS: Final = (
    "has_perm",
    "get_all_permissions",
    "get_user_permissions",
    "get_group_permissions",
    "_get_permissions",
    "_get_user_permissions",
    "_get_group_permissions",
)


def _answers_as(backend: type, other: type) -> bool:
    return all(getattr(backend, name, None) is getattr(other, name, None) for name in _ANSWERS)


def is_unknown(permission: str) -> bool:
    """Return whether no user can have `permission`, an `app_label.codename`.

    False if a site's own backend or user model decides: it may know permissions without a row.
    """
    own = getattr(get_user_model(), "has_perm", None)
    if not django_alone_decides() or own is not PermissionsMixin.has_perm:
        return False
    app_label, _, codename = permission.partition(".")
    rows = rows_to_write(Permission)
    return not rows.filter(content_type__app_label=app_label, codename=codename).exists()


def similar_to(permission: str) -> str:
    """Return the existing permission that is most like `permission`, or an empty string."""
    rows = rows_to_write(Permission).values_list("content_type__app_label", "codename")
    names = [f"{app_label}.{codename}" for app_label, codename in rows]
    return next(iter(get_close_matches(permission, names, n=1)), "")
