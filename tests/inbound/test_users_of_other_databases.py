"""Users of another database or tenant are judged by their own rows."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from pytest_django import Settings

from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN, log_in
from tests.inbound.test_revocation import ECHO, LOGGED_IN, closed_with, is_open, poll
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.models import Endpoint, Session

Serve = Callable[..., Any]

PERMISSION = "auth.view_group"
TABLES = (ContentType, Permission, Group, User)


@pytest.fixture
def legacy(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Another database, with users, groups and permissions, whose keys are those of others."""
    # Django's test cases allow the databases alone that were there when the test began.
    connect = BaseDatabaseWrapper.ensure_connection
    real = inspect.getclosurevars(connect).nonlocals["real_ensure_connection"]
    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", real)
    alias = f"legacy{uuid.uuid4().hex[:8]}"  # threads keep connections by their aliases
    connections.settings[alias] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "legacy.sqlite3"),
        "OPTIONS": {},
    }
    opened: list[Any] = []

    def note(connection: BaseDatabaseWrapper, **_: object) -> None:
        if connection.alias == alias:
            opened.append(connection.connection)

    connection_created.connect(note)
    with connections[alias].schema_editor() as editor:
        for model in TABLES:
            editor.create_model(model)
    kind = ContentType.objects.using(alias).create(app_label="auth", model="group")
    fields = {"codename": "view_group", "content_type_id": kind.pk}
    Permission.objects.using(alias).create(pk=7000, name="Can view", **fields)
    yield alias
    connection_created.disconnect(note)
    for one in opened:  # each by a thread of its own
        one.close()
    del connections[alias]
    del connections.settings[alias]


@sync_to_async
def make_user(alias: str, key: int, name: str, **fields: Any) -> User:
    User.objects.using(alias).create(pk=key, username=name, **fields)
    return User.objects.using(alias).get(pk=key)


@sync_to_async
def change(user: User, **fields: Any) -> None:
    User.objects.using(user._state.db).filter(pk=user.pk).update(**fields)


async def enter(path: str, user: User) -> Connection:
    connection = Connection(path, user=user, headers=[ORIGIN])
    assert (await connection.connect())["type"] == "websocket.accept"
    return connection


async def test_the_row_with_the_same_key_elsewhere_decides_nothing(
    serve: Serve, legacy: str
) -> None:
    serving = await serve(private=LOGGED_IN, staff={**ECHO, "access": "staff"})
    tom = await make_user(legacy, 3, "tom", is_staff=True)
    anna = await make_user("default", 3, "anna", is_staff=True)
    both = [await enter("private", tom), await enter("staff", tom)]
    others = [await enter("private", anna), await enter("staff", anna)]
    await change(anna, is_staff=False)
    await poll(serving)
    assert (await closed_with(others[1]))[0] == 4403
    await sync_to_async(anna.delete)()
    await poll(serving)
    assert (await closed_with(others[0]))[0] == 4401
    for connection in both:
        assert await is_open(connection)
    await make_user("default", 3, "berta", is_staff=True)
    await change(tom, is_staff=False)
    await poll(serving)
    assert (await closed_with(both[1]))[0] == 4403
    await change(tom, is_active=False)
    await poll(serving)
    assert (await closed_with(both[0]))[0] == 4401


async def test_permissions_and_groups_are_those_of_the_users_own_database(
    serve: Serve, legacy: str
) -> None:
    serving = await serve(permitted={**LOGGED_IN, "permission": PERMISSION}, members=LOGGED_IN)
    await Group.objects.acreate(pk=5, name="guests")
    await Group.objects.acreate(pk=6, name="editors")
    endpoint = await Endpoint.objects.aget(endpoint="members")
    await endpoint.groups.aadd(6)
    await endpoint.asave()
    await serving.node.look()

    @sync_to_async
    def prepare() -> tuple[User, User]:
        groups = Group.objects.using(legacy)
        editors, guests = groups.create(pk=5, name="editors"), groups.create(pk=6, name="guests")
        editors.permissions.add(Permission.objects.using(legacy).get())
        made = []
        for key, group in ((3, editors), (4, guests)):
            User.objects.using(legacy).create(pk=key, username=f"user {key}")
            made.append(User.objects.using(legacy).get(pk=key))
            made[-1].groups.add(group)
        mighty = User.objects.create(pk=4, username="mighty")
        mighty.groups.add(Group.objects.get(name="editors"))
        permission = Permission.objects.get(content_type__app_label="auth", codename="view_group")
        mighty.user_permissions.add(permission)
        Group.objects.get(name="editors").permissions.add(permission)
        return made[0], made[1]

    editor, guest = await prepare()
    for path in ("permitted", "members"):
        answer = await Connection(path, user=guest, headers=[ORIGIN]).connect()
        assert answer["type"] == "websocket.close", path
    staying = [await enter("permitted", editor), await enter("members", editor)]
    await poll(serving)
    for connection in staying:
        assert await is_open(connection)
    await sync_to_async(editor.groups.clear)()
    await poll(serving)
    for connection in staying:
        assert (await closed_with(connection))[0] == 4403


async def test_users_with_the_same_key_are_not_counted_together_and_found_again(
    serve: Serve, legacy: str
) -> None:
    serving = await serve(one={**LOGGED_IN, "max_sessions_per_user": 1})
    tom, anna = await make_user(legacy, 3, "tom"), await make_user("default", 3, "anna")
    await enter("one", tom)
    await enter("one", anna)
    refused = Connection("one", user=tom, headers=[ORIGIN])
    assert (await refused.connect())["type"] == "websocket.close"
    await serving.node.recorder.flush()
    rows = {row.username: row async for row in Session.objects.all()}
    assert (rows["tom"].user_key, rows["anna"].user_key) == (f"{legacy}:3", "3")
    for name, user in (("tom", tom), ("anna", anna)):
        handle = WebsocketSession(rows[name].pk)  # as another process has it
        found = await sync_to_async(lambda handle=handle: handle.user)()
        assert (found, found._state.db) == (user, user._state.db)


async def test_the_cookie_of_the_user_with_the_same_key_is_not_theirs(
    serve: Serve, legacy: str
) -> None:
    serving = await serve(private=LOGGED_IN)
    anna = await log_in("anna")
    tom = await make_user(legacy, anna.user.pk, "tom", password="another")
    connection = Connection("private", user=tom, headers=anna.headers)
    assert (await connection.connect())["type"] == "websocket.accept"
    await anna.browser.alogout()
    await poll(serving)
    assert await is_open(connection)


async def test_a_database_that_is_away_keeps_its_own_users_alone_from_being_judged(
    serve: Serve, legacy: str
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom, anna = await make_user(legacy, 3, "tom"), await make_user("default", 3, "anna")
    of_tom, of_anna = await enter("private", tom), await enter("private", anna)

    @sync_to_async
    def break_down() -> None:
        with connections[legacy].cursor() as cursor:
            cursor.execute("ALTER TABLE auth_user RENAME TO away")

    await break_down()
    await change(anna, is_active=False)
    with pytest.raises(Exception, match="auth_user"):
        await serving.revocation.poll()
    assert (await closed_with(of_anna))[0] == 4401
    assert await is_open(of_tom)


# Tenants

_schema: ContextVar[str] = ContextVar("schema", default="public")


def schema_of(scope: dict[str, Any]) -> str | None:
    """Return the tenant, as a function of a site's would by the host."""
    return dict(scope["headers"]).get(b"x-schema", b"").decode() or None


@contextmanager
def schema_context(schema: str) -> Iterator[None]:
    """Enter a schema: its users are those whose names end with it."""
    token = _schema.set(schema)
    try:
        yield
    finally:
        _schema.reset(token)


@pytest.fixture
def tenants(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with schemas: in each the same key is another user's."""
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS,
        "TENANT_OF": f"{__name__}.schema_of", "TENANT_CONTEXT": f"{__name__}.schema_context",
    }  # fmt: skip
    original = User.from_db.__func__  # type: ignore[attr-defined]

    def from_db(cls: Any, *args: Any, **options: Any) -> Any:
        user = original(cls, *args, **options)
        user.is_active = user.is_active and _schema.get() not in user.first_name.split()
        return user

    monkeypatch.setattr(User, "from_db", classmethod(from_db))


async def test_users_are_looked_up_and_polled_in_the_tenant_of_their_handshake(
    serve: Serve, tenants: None
) -> None:
    serving = await serve(private={**LOGGED_IN, "max_sessions_per_user": 1})
    tom = await log_in("tom")
    opened = {}
    for schema in ("acme", "globex", ""):
        headers = [*tom.headers, *([("x-schema", schema)] if schema else [])]
        opened[schema] = Connection("private", headers=headers)
        assert (await opened[schema].connect())["type"] == "websocket.accept"
    await serving.node.recorder.flush()
    keys = {row.user_key async for row in Session.objects.all()}
    assert keys == {f"acme/{tom.user.pk}", f"globex/{tom.user.pk}", str(tom.user.pk)}
    await tom.change(first_name="globex")  # deactivated there
    await poll(serving)
    assert (await closed_with(opened.pop("globex")))[0] == 4401
    for connection in opened.values():
        assert await is_open(connection)
    again = Connection("private", headers=[*tom.headers, ("x-schema", "globex")])
    assert (await again.connect())["type"] == "websocket.close"


async def test_a_tenant_that_can_not_be_entered_lets_nobody_in_and_closes_nobody_else(
    serve: Serve, tenants: None, settings: Settings
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom, eve = await log_in("tom"), await log_in("eve")
    connection = Connection("private", headers=[*tom.headers, ("x-schema", "acme")])
    assert (await connection.connect())["type"] == "websocket.accept"
    other = await eve.enter("private")
    path = f"{__name__}.broken_context"
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "TENANT_CONTEXT": path}
    await eve.change(is_active=False)
    with pytest.raises(LookupError, match="acme"):
        await serving.revocation.poll()
    assert (await closed_with(other))[0] == 4401
    assert await is_open(connection)
    refused = Connection("private", headers=[*tom.headers, ("x-schema", "acme")])
    assert (await refused.connect())["type"] == "websocket.close"


def broken_context(schema: str) -> None:
    raise LookupError(schema)
