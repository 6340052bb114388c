"""Rights: which permissions and groups users have, asked for one of them or for many together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from typing import Any

from django.contrib.auth.models import Group, Permission, PermissionsMixin
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, QuerySet

from ..models.permissions import django_alone_decides
from .config import EndpointConfig
from .portions import Turns, portions

Who = tuple[type, str, Hashable]
"""A user: the class, the database and the primary key."""


def who(user: Any) -> Who:
    return user.__class__, database_of(user), user.pk  # not type(): middlewares wrap users


def has_row(user: Any) -> bool:
    """Tell whether the user came out of the database; a middleware may make them of a token."""
    return isinstance(user, Model) and not user._state.adding


def database_of(user: Any) -> str:
    """Return the alias of the database in which the user's row is written; "" without a model.

    If a middleware read the user from another database, that database judges the user: the row
    with the same key elsewhere is another user's. A user read from a replica is the primary's.
    """
    if not isinstance(user, Model):
        return ""
    read_from = user._state.db
    if read_from == DEFAULT_DB_ALIAS and not router.routers:
        return read_from  # thousands are asked for in each poll
    model = user.__class__
    written_to = router.db_for_write(model)
    if read_from in (None, router.db_for_read(model)):
        return written_to
    mirrored = connections.settings[read_from].get("TEST", {}).get("MIRROR")
    return written_to if mirrored == written_to else read_from


def is_of_another_database(user: Any) -> bool:
    """Tell whether the user's row isn't where the site's users are written."""
    database = database_of(user)
    return database != "" and database != router.db_for_write(user.__class__)


def rows_of_users(users: Iterable[Any]) -> Iterator[QuerySet[Any]]:
    """Yield query sets that together have these users, a portion each."""
    keys: defaultdict[tuple[type[Model], str], set[Hashable]] = defaultdict(set)
    for user in users:
        keys[user.__class__, database_of(user)].add(user.pk)
    for (model, database), of_model in keys.items():
        for portion in portions(of_model):
            yield model._default_manager.using(database).filter(pk__in=portion)


class Rights:
    """What one user may, asked for them alone. Sync: reads the database."""

    def has_permission(self, user: Any, permission: str) -> bool:
        has_perm = getattr(user, "has_perm", None)  # a site's own model may know none
        return has_perm is not None and bool(has_perm(permission))

    def is_member(self, user: Any, groups: frozenset[int]) -> bool:
        if getattr(user, "is_superuser", False):
            return True
        if not hasattr(user, "groups"):
            return False
        keys = list(_groups_in(database_of(user), groups))
        return bool(user.groups.filter(pk__in=keys).exists())


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
        wanted = {permission for _, permission in concerned}
        names = cache(lambda database: _permission_names(wanted, database))
        for rows in rows_of_users(user for user, _ in concerned):
            named = names(rows.db)
            for path in ("user_permissions", "groups__permissions"):
                held = rows.filter(**{f"{path}__in": list(named)}).values_list("pk", path)
                self._permissions |= {((rows.model, rows.db, pk), named[key]) for pk, key in held}

    def _read_groups(self, asked: list[tuple[Any, EndpointConfig]]) -> None:
        concerned = [
            (user, config.groups)
            for user, config in asked
            if config.groups and isinstance(user, PermissionsMixin)
        ]
        wanted = frozenset[int]().union(*(groups for _, groups in concerned))
        for rows in rows_of_users(user for user, _ in concerned):
            groups = _groups_in(rows.db, wanted)
            found = rows.filter(groups__in=list(groups)).values_list("pk", "groups")
            for pk, group in found:
                self._groups[rows.model, rows.db, pk].add(groups[group])


def rights_of(user: Any, config: EndpointConfig) -> Rights:
    """Return the permissions and groups of one user, at a handshake.

    Django's own backend reads permissions of groups from the default database, whatever the
    user's is: there it would find those of somebody else.
    """
    if is_of_another_database(user):
        return RightsOfMany([(user, config)], Turns(1))
    return Rights()


def _permission_names(wanted: set[str], database: str) -> dict[int, str]:
    """Return the permissions of these names, by their primary keys in `database`."""
    if not wanted:
        return {}
    rows = Permission.objects.using(database)
    rows = rows.filter(codename__in={name.partition(".")[2] for name in wanted})
    found = rows.values_list("pk", "content_type__app_label", "codename")
    names = {pk: f"{app_label}.{codename}" for pk, app_label, codename in found}
    return {pk: name for pk, name in names.items() if name in wanted}


def _groups_in(database: str, groups: frozenset[int]) -> dict[int, int]:
    """Return the endpoint's `groups` by their primary keys in `database`, where names count."""
    own = router.db_for_write(Group)
    if database in ("", own):
        return {group: group for group in groups}
    named = dict(Group.objects.using(own).filter(pk__in=groups).values_list("name", "pk"))
    found = Group.objects.using(database).filter(name__in=named).values_list("pk", "name")
    return {pk: named[name] for pk, name in found}
