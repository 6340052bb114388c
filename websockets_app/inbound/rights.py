"""Rights: which permissions and groups users have, asked for one of them or for many together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from django.contrib.auth.models import Permission, PermissionsMixin
from django.db import router
from django.db.models import Model, QuerySet

from ..models.permissions import django_alone_decides
from .config import EndpointConfig
from .portions import Turns, portions

Who = tuple[type, Hashable]
"""A user: the class and the primary key."""


def who(user: Any) -> Who:
    return user.__class__, user.pk  # not type(): middlewares wrap users


def rows_of_users(users: Iterable[Any]) -> Iterator[QuerySet[Any]]:
    """Yield query sets that together have these users, a portion each."""
    keys: defaultdict[type[Model], set[Hashable]] = defaultdict(set)
    for user in users:
        keys[user.__class__].add(user.pk)
    for model, of_model in keys.items():
        for portion in portions(of_model):
            yield _rows_of(model).filter(pk__in=portion)


class Rights:
    """What one user may, asked for them alone. Sync: reads the database."""

    def has_permission(self, user: Any, permission: str) -> bool:
        has_perm = getattr(user, "has_perm", None)  # a site's own model may know none
        return has_perm is not None and bool(has_perm(permission))

    def is_member(self, user: Any, groups: frozenset[int]) -> bool:
        if getattr(user, "is_superuser", False):
            return True
        return hasattr(user, "groups") and bool(user.groups.filter(pk__in=groups).exists())


class RightsOfMany(Rights):
    """What many users may, asked in a few queries for all of them.

    Where Django's own backend and models decide. Where a site has others, its users are asked one
    by one, when it is their turn: until then nobody is refused.
    """

    def __init__(self, users: Iterable[tuple[Any, EndpointConfig]], turns: Turns) -> None:
        asked = [(user, config) for user, config in users if config.permission or config.groups]
        self._has_own_backends = not django_alone_decides()
        self._permissions: set[tuple[Who, str]] = set()
        self._groups: defaultdict[Who, set[int]] = defaultdict(set)
        self._read_permissions(asked)
        self._read_groups(asked)
        self._turn = turns.take({who(user) for user, config in asked if self._is_alone(user)})

    def has_permission(self, user: Any, permission: str) -> bool:
        if self._has_own_permissions(user):
            return who(user) not in self._turn or super().has_permission(user, permission)
        return bool(user.is_superuser) or (who(user), permission) in self._permissions

    def is_member(self, user: Any, groups: frozenset[int]) -> bool:
        if not isinstance(user, PermissionsMixin):
            return who(user) not in self._turn or super().is_member(user, groups)
        return bool(user.is_superuser) or not groups.isdisjoint(self._groups[who(user)])

    def _is_alone(self, user: Any) -> bool:
        """Tell whether somebody has to be asked for this user alone."""
        return self._has_own_permissions(user) or not isinstance(user, PermissionsMixin)

    def _has_own_permissions(self, user: Any) -> bool:
        own = getattr(user.__class__, "has_perm", None)
        return self._has_own_backends or own is not PermissionsMixin.has_perm

    def _read_permissions(self, asked: list[tuple[Any, EndpointConfig]]) -> None:
        concerned = [
            (user, config.permission)
            for user, config in asked
            if config.permission and not self._has_own_permissions(user)
        ]
        names = _permission_names({permission for _, permission in concerned})
        for rows in rows_of_users(user for user, _ in concerned):
            for path in ("user_permissions", "groups__permissions"):
                held = rows.filter(**{f"{path}__in": list(names)}).values_list("pk", path)
                self._permissions |= {((rows.model, pk), names[key]) for pk, key in held}

    def _read_groups(self, asked: list[tuple[Any, EndpointConfig]]) -> None:
        concerned = [
            (user, config.groups)
            for user, config in asked
            if config.groups and isinstance(user, PermissionsMixin)
        ]
        groups = frozenset[int]().union(*(groups for _, groups in concerned))
        for rows in rows_of_users(user for user, _ in concerned):
            for pk, group in rows.filter(groups__in=groups).values_list("pk", "groups"):
                self._groups[rows.model, pk].add(group)


def _permission_names(wanted: set[str]) -> dict[int, str]:
    """Return the permissions of these names, by primary key."""
    if not wanted:
        return {}
    rows = _rows_of(Permission).filter(codename__in={name.partition(".")[2] for name in wanted})
    found = rows.values_list("pk", "content_type__app_label", "codename")
    names = {pk: f"{app_label}.{codename}" for pk, app_label, codename in found}
    return {pk: name for pk, name in names.items() if name in wanted}


def _rows_of(model: type[Model]) -> QuerySet[Any]:
    """Return the rows of `model` from where they are written: a replica may lag behind."""
    return model._default_manager.using(router.db_for_write(model))
