"""Who logs out, or may no longer be there, doesn't stay: real rows and real Django sessions."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session as DjangoSession
from django.db import DatabaseError
from django.db import connection as database
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN, Person, log_in
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound import admission, revocation
from websockets_app.inbound.logins import LOGIN_ID
from websockets_app.inbound.portions import Turns
from websockets_app.inbound.serving import Serving
from websockets_app.models import Endpoint, Event, Session

Serve = Callable[..., Any]
Change = Callable[[Person], Awaitable[object]]

ECHO = {"handler": "handlers.echo"}
LOGGED_IN = {**ECHO, "access": "authenticated"}
PERMISSION = "websockets_app.view_endpoint"


async def permission() -> Permission:
    return await Permission.objects.aget(codename="view_endpoint")


def store() -> Any:
    return import_module(django_settings.SESSION_ENGINE).SessionStore


async def closed_with(connection: Connection) -> tuple[int, str]:
    answer = await connection.next()
    assert answer["type"] == "websocket.close", answer
    await connection.ended()
    return answer["code"], answer["reason"]


async def is_open(connection: Connection) -> bool:
    """Tell whether a message is still answered, before anything else comes."""
    connection.send("still here?")
    return (await connection.next()).get("text") == "still here?"


async def poll(serving: Serving) -> None:
    """Poll twice: in some tests one has their turn after the other."""
    for _ in range(2):
        await serving.revocation.poll()


# The login


async def change_password(person: Person) -> None:
    person.user.set_password("another")
    await person.user.asave()


async def change_session(person: Person, change: Callable[[Any], object]) -> None:
    session = store()(person.key)
    await sync_to_async(session.load)()
    await sync_to_async(change)(session)
    await session.asave()


async def become_somebody_else(person: Person) -> None:
    other = await User.objects.acreate(username="other")
    await change_session(person, lambda session: session.update({SESSION_KEY: str(other.pk)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda p: p.browser.alogout(), "logged out", id="log out"),
        pytest.param(lambda p: p.change(is_active=False), "deactivated", id="deactivate"),
        pytest.param(lambda p: p.user.adelete(), "deleted", id="delete"),
        pytest.param(change_password, "password", id="change the password"),
        pytest.param(
            lambda p: DjangoSession.objects.filter(pk=p.key).aupdate(expire_date=timezone.now()),
            "expired",
            id="expire",
        ),
        pytest.param(
            lambda p: change_session(p, lambda session: session.pop(SESSION_KEY)),
            "logged out",
            id="forget the user",
        ),
        pytest.param(become_somebody_else, "logged out", id="become somebody else"),
    ],
)
async def test_who_is_no_longer_logged_in_is_closed_and_nobody_else(
    serve: Serve, change: Change, reason: str
) -> None:
    serving = await serve(private=LOGGED_IN, public=ECHO)
    tom, jerry = await log_in("tom"), await log_in("jerry")
    closing = [await tom.enter("private"), await tom.enter("public")]
    staying = [await jerry.enter("private"), await jerry.enter("public"), Connection("public")]
    await staying[-1].connect()
    await poll(serving)
    for connection in (*closing, *staying):
        assert await is_open(connection)
    await change(tom)
    await poll(serving)
    for connection in closing:
        code, told = await closed_with(connection)
        assert code == 4401
        assert reason in told
    for connection in staying:
        assert await is_open(connection)
    assert await serving.node.recorder.flush()
    rows = Session.objects.filter(close_cause="revoked", close_code=4401)
    assert await rows.filter(username="tom", close_reason__contains=reason).acount() == 2
    events = Event.objects.filter(kind="close", cause="revoked", detail__contains=reason)
    assert await events.acount() == 2


HESITANT = """
import asyncio

asked, decided = asyncio.Event(), asyncio.Event()

async def may_open():
    asked.set()
    await decided.wait()
    return True

async def on_open():
    return "secret"
"""


async def require_staff(person: Person) -> None:
    await Endpoint.objects.aupdate(access="staff")


async def require_a_login(person: Person) -> None:
    await Endpoint.objects.aupdate(access="authenticated")


async def remove_the_origin(person: Person) -> None:
    await Endpoint.objects.aupdate(origins=[])


@pytest.fixture
async def serve_hesitant(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> Serve:
    """Serve an endpoint whose `may_open` waits, and counts as slow however soon it returns."""
    monkeypatch.setattr(admission, "CHECK_AGAIN_AFTER", 0.0)
    reference = write_handler("hesitant", HESITANT)

    async def start(**fields: Any) -> tuple[Serving, Any]:
        serving = await serve(private={**LOGGED_IN, "handler": reference, **fields})
        return serving, sys.modules[reference]

    return start


@pytest.mark.parametrize("access", ["public", "authenticated"])
@pytest.mark.parametrize("is_middlewares", [False, True], ids=["cookie", "middleware"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p.browser.alogout(), id="log out"),
        pytest.param(lambda p: p.change(is_active=False), id="deactivate"),
        pytest.param(lambda p: p.user.adelete(), id="delete"),
        pytest.param(change_password, id="change the password"),
        pytest.param(require_staff, id="the endpoint requires staff"),
    ],
)
async def test_a_user_who_loses_access_while_may_open_runs_is_refused(
    serve_hesitant: Serve, change: Change, access: str, is_middlewares: bool
) -> None:
    serving, handler = await serve_hesitant(access=access)
    tom = await log_in("tom")
    connection = Connection(
        "private", headers=tom.headers, user=tom.user if is_middlewares else None
    )
    answer = asyncio.create_task(connection.connect())
    await handler.asked.wait()
    await change(tom)
    await serving.node._watchers[0].poll()
    handler.decided.set()
    assert await answer == {"type": "websocket.close"}  # before an accept: HTTP 403
    await connection.ended()


@pytest.mark.parametrize(
    "change", [require_staff, require_a_login, remove_the_origin], ids=lambda c: c.__name__
)
async def test_the_current_row_is_checked_however_quick_may_open_was(
    serve_hesitant: Serve, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(admission, "CHECK_AGAIN_AFTER", 3600.0)
    serving, handler = await serve_hesitant(access="public", origins=["https://example.com"])
    connection = Connection("private", headers=[("origin", "https://example.com")])
    answer = asyncio.create_task(connection.connect())
    await handler.asked.wait()
    await change(Person(User(), AsyncClient()))
    await serving.node._watchers[0].poll()
    handler.decided.set()
    assert await answer == {"type": "websocket.close"}
    await connection.ended()


async def test_a_user_who_can_not_be_checked_again_is_told_to_try_later(
    serve_hesitant: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, handler = await serve_hesitant()
    tom = await log_in("tom")
    connection = Connection("private", headers=tom.headers, extensions=["websocket.http.response"])
    status = asyncio.create_task(connection.status())
    await handler.asked.wait()

    def fail(*arguments: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(revocation.logins, "look_up", fail)
    handler.decided.set()
    assert await status == 503
    await connection.ended()


@pytest.mark.parametrize(("slow_from", "lookups"), [(3600.0, 1), (0.0, 2)])
async def test_a_quick_may_open_costs_no_second_lookup(
    serve_hesitant: Serve, monkeypatch: pytest.MonkeyPatch, slow_from: float, lookups: int
) -> None:
    serving, handler = await serve_hesitant()
    monkeypatch.setattr(admission, "CHECK_AGAIN_AFTER", slow_from)
    handler.decided.set()
    run, hops = serving.node.lookups.run, []

    async def count(function: Callable[..., Any], *arguments: Any) -> Any:
        hops.append(function)
        return await run(function, *arguments)

    monkeypatch.setattr(serving.node.lookups, "run", count)
    tom = await log_in("tom")
    connection = await tom.enter("private")
    assert (await connection.next())["text"] == "secret"
    assert len(hops) == lookups
    connection.leave()
    await connection.ended()


async def test_who_is_revoked_while_a_callback_runs_is_closed_at_once(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = (
        "import asyncio\nbegun, done = asyncio.Event(), asyncio.Event()\n"
        "async def on_message():\n    begun.set()\n    await done.wait()\n    return 'secret'\n"
    )
    reference = write_handler("busy", source)
    serving = await serve(private={**LOGGED_IN, "handler": reference})
    handler = sys.modules[reference]
    tom = await log_in("tom")
    connection = await tom.enter("private")
    connection.send("x")
    await handler.begun.wait()
    await tom.browser.alogout()
    await serving.revocation.poll()
    assert (await connection.next())["code"] == 4401
    handler.done.set()
    await connection.ended()
    assert connection.sent.empty()  # what it answered then was told to nobody


async def test_who_changes_their_own_password_comes_back_with_the_new_cookie(
    serve: Serve,
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom", is_staff=True)
    before = await tom.enter("private")
    passwords = {
        "old_password": "secret",
        "new_password1": "an0ther!",
        "new_password2": "an0ther!",
    }
    answer = await tom.browser.post("/admin/password_change/", passwords)
    assert answer.status_code == 302, answer.context["form"].errors
    await poll(serving)
    assert (await closed_with(before))[0] == 4401  # Django gave the browser another session
    assert await user_of_page(tom) == "tom"
    after = await tom.enter("private")
    await poll(serving)
    assert await is_open(after)


async def test_other_logins_of_the_same_user_stay(serve: Serve) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    elsewhere = Person(tom.user, AsyncClient())
    await elsewhere.browser.aforce_login(tom.user)
    closing, staying = await tom.enter("private"), await elsewhere.enter("private")
    await tom.browser.alogout()
    await poll(serving)
    assert (await closed_with(closing))[0] == 4401
    assert await is_open(staying)


async def test_a_session_that_is_saved_again_stays(serve: Serve) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    connection = await tom.enter("private")
    await poll(serving)
    for number in range(2):
        await change_session(tom, lambda session, n=number: session.update({"cart": [1] * n}))
        await poll(serving)
        assert await is_open(connection)


async def test_a_password_that_is_only_hashed_anew_closes_no_more_than_django_logs_out(
    serve: Serve,
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    await tom.change(password=make_password("secret", salt="short"))  # which Django improves upon
    here, elsewhere = Person(tom.user, AsyncClient()), Person(tom.user, AsyncClient())
    assert await elsewhere.browser.alogin(username="tom", password="secret")
    before = await User.objects.aget()
    await tom.change(password=make_password("secret", salt="short"))
    await elsewhere.browser.alogin(username="tom", password="secret")
    old = await elsewhere.enter("private")
    await tom.change(password=make_password("secret", salt="short"))
    assert await here.browser.alogin(username="tom", password="secret")
    assert (await User.objects.aget()).password != before.password
    new = await here.enter("private")
    await poll(serving)
    assert await is_open(new)
    assert (await closed_with(old))[0] == 4401
    assert await user_of_page(here) == "tom"
    assert await user_of_page(elsewhere) == ""


async def user_of_page(person: Person) -> str:
    """Return as whom Django's pages know them."""
    request = (await person.browser.get("/")).asgi_request
    return str((await request.auser()).get_username())


async def test_a_login_under_an_older_secret_key_stays(serve: Serve, settings: Settings) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    connection = await tom.enter("private")
    await poll(serving)
    assert await is_open(connection)
    await change_password(tom)
    await poll(serving)
    assert (await closed_with(connection))[0] == 4401


# Rights


@pytest.fixture
async def member(transactional_db: None) -> Person:
    """A member of staff who has a permission, has it again by a group, and is in another."""
    person = await log_in("tina", is_staff=True)
    await person.user.user_permissions.aadd(await permission())
    permitted = await Group.objects.acreate(name="permitted")
    await permitted.permissions.aadd(await permission())
    await person.user.groups.aadd(permitted, await Group.objects.acreate(name="talkers"))
    return person


async def leave(person: Person, group: str) -> None:
    await person.user.groups.aremove(await Group.objects.aget(name=group))


async def lose_the_permission_twice(person: Person) -> None:
    await person.user.user_permissions.aclear()
    await leave(person, "permitted")


async def lose_it_with_the_group(person: Person) -> None:
    await person.user.user_permissions.aclear()
    await (await Group.objects.aget(name="permitted")).permissions.aclear()


@pytest.mark.parametrize(
    ("change", "closed"),
    [
        pytest.param(lambda p: p.change(is_staff=False), "staff", id="staff"),
        pytest.param(lambda p: leave(p, "talkers"), "grouped", id="group"),
        pytest.param(lambda p: p.user.user_permissions.aclear(), "", id="still by a group"),
        pytest.param(lambda p: leave(p, "permitted"), "", id="still directly"),
        pytest.param(lose_the_permission_twice, "permitted", id="permission"),
        pytest.param(lose_it_with_the_group, "permitted", id="the group's permission"),
        pytest.param(
            lambda p: Permission.objects.filter(codename="view_endpoint").adelete(),
            "permitted",
            id="the permission itself",
        ),
        pytest.param(
            lambda p: Endpoint.objects.filter(endpoint="logged_in").aupdate(access="public"),
            "",
            id="the endpoint asks for less",
        ),
    ],
)
async def test_who_is_no_longer_allowed_is_closed_where_that_counts(
    serve: Serve, member: Person, change: Change, closed: str
) -> None:
    grouped = await Endpoint.objects.acreate(endpoint="grouped", **LOGGED_IN)
    await grouped.groups.aadd(await Group.objects.aget(name="talkers"))
    serving = await serve(
        logged_in=LOGGED_IN,
        staff={**ECHO, "access": "staff"},
        permitted={**LOGGED_IN, "permission": PERMISSION},
    )
    paths = ("logged_in", "staff", "permitted", "grouped")
    connections = {path: await member.enter(path) for path in paths}
    boss = await log_in("boss", is_superuser=True, is_staff=True)
    connections |= {f"{path} of the boss": await boss.enter(path) for path in paths}
    await poll(serving)
    await change(member)
    await poll(serving)
    for path, connection in connections.items():
        if path == closed:
            assert (await closed_with(connection))[0] == 4403
        else:
            assert await is_open(connection), path
    assert await serving.node.recorder.flush()
    closes = [event async for event in Event.objects.filter(kind="close")]
    assert [(event.name, event.cause) for event in closes] == [(closed, "revoked")] * bool(closed)
    assert all("tina" not in event.detail for event in closes)


async def test_a_superuser_who_is_one_no_more_is_closed(serve: Serve) -> None:
    serving = await serve(permitted={**LOGGED_IN, "permission": PERMISSION})
    boss = await log_in("boss", is_superuser=True)
    connection = await boss.enter("permitted")
    await boss.change(is_superuser=False)
    await poll(serving)
    assert (await closed_with(connection))[0] == 4403


@pytest.mark.parametrize("on_change", ["keep", "drain"])
@pytest.mark.parametrize(
    "asked", [{"access": "staff"}, {"permission": PERMISSION}], ids=["access", "permission"]
)
async def test_an_endpoint_that_asks_for_more_keeps_those_alone_who_have_it(
    serve: Serve, on_change: str, asked: dict[str, str]
) -> None:
    serving = await serve(private={**LOGGED_IN, "on_change": on_change})
    tom, boss = await log_in("tom"), await log_in("boss", is_superuser=True, is_staff=True)
    closing, staying = await tom.enter("private"), await boss.enter("private")
    await Endpoint.objects.aupdate(**asked)
    (served,) = serving.registry._configs
    (name,) = asked
    await aeventually(lambda: getattr(serving.registry.get(served), name) == asked[name])
    await poll(serving)
    assert (await closed_with(closing))[0] == 4403
    assert await is_open(staying)


async def test_nobody_stays_where_somebody_has_to_be_logged_in_by_now(serve: Serve) -> None:
    serving = await serve(echo=ECHO)
    connection = Connection("echo")
    await connection.connect()
    await Endpoint.objects.aupdate(access="authenticated")
    (served,) = serving.registry._configs
    await aeventually(lambda: serving.registry.get(served).needs_user)
    await poll(serving)
    assert (await closed_with(connection))[0] == 4401


# Other stores, users and backends


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file", "signed_cookies"])
async def test_every_store_of_sessions_tells_who_logged_out_that_can(
    serve: Serve, settings: Settings, tmp_path: Path, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "ACCEPT_SIGNED_COOKIE_SESSIONS": True}
    serving = await serve(private=LOGGED_IN)
    tom, jerry = await log_in("tom"), await log_in("jerry")
    closing, staying = await tom.enter("private"), await jerry.enter("private")
    await poll(serving)
    await tom.browser.alogout()
    await poll(serving)
    assert (await closed_with(closing))[0] == 4401
    assert await is_open(staying)


@pytest.fixture
def signed_cookies(settings: Settings) -> None:
    """Keep Django sessions in signed cookies, and accept such logins."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "ACCEPT_SIGNED_COOKIE_SESSIONS": True}


async def change_cookie(person: Person, change: Callable[[Any], object]) -> None:
    """Change a session that the browser keeps, as a view does: the cookie gets a new value."""
    session = store()(person.key)
    await sync_to_async(change)(session)
    await session.asave()
    assert session.session_key != person.key
    person.browser.cookies[django_settings.SESSION_COOKIE_NAME] = session.session_key


@pytest.mark.usefixtures("signed_cookies")
async def test_a_logout_ends_one_login_although_its_signed_cookie_has_changed(
    serve: Serve,
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    at_work = Person(tom.user, AsyncClient())
    await at_work.browser.aforce_login(tom.user, django_settings.AUTHENTICATION_BACKENDS[0])
    closing, staying = await tom.enter("private"), await at_work.enter("private")
    copied = tom.headers
    await change_cookie(tom, lambda session: session.update({"basket": "full"}))
    await tom.browser.alogout()
    await poll(serving)
    assert await closed_with(closing) == (4401, "logged out, or the login has expired")
    assert await is_open(staying)
    again = Connection("private", headers=copied)
    assert (await again.connect())["type"] != "websocket.accept"


@pytest.mark.usefixtures("signed_cookies")
async def test_a_logout_ends_all_logins_of_the_user_that_are_older_than_the_app(
    serve: Serve,
) -> None:
    serving = await serve(private=LOGGED_IN)
    tom, jerry = await log_in("tom"), await log_in("jerry")
    for person in (tom, jerry):
        await change_cookie(person, lambda session: session.pop(LOGIN_ID))
    closing, staying = await tom.enter("private"), await jerry.enter("private")
    await tom.browser.alogout()
    await poll(serving)
    assert (await closed_with(closing))[0] == 4401
    assert await is_open(staying)


async def test_a_signed_cookie_opens_only_public_endpoints_unless_a_setting_accepts_it(
    serve: Serve, settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    serving = await serve(private=LOGGED_IN, public=ECHO)
    tom = await log_in("tom")
    await tom.enter("public")
    refused = Connection("private", headers=tom.headers)
    assert (await refused.connect())["type"] != "websocket.accept"
    await serving.node.recorder.flush()
    event = await Event.objects.aget(kind="refused")
    assert "ACCEPT_SIGNED_COOKIE_SESSIONS" in event.detail


async def test_a_user_whom_a_middleware_knows_by_other_means_is_checked_by_the_row(
    serve: Serve,
) -> None:
    serving = await serve(private={**LOGGED_IN, "permission": PERMISSION})
    tom, jerry = await log_in("tom"), await log_in("jerry")
    await tom.user.user_permissions.aadd(await permission())
    await jerry.user.user_permissions.aadd(await permission())
    by_token = Connection("private", user=tom.user, headers=[ORIGIN])
    with_another_cookie = Connection("private", user=jerry.user, headers=tom.headers)
    for connection in (by_token, with_another_cookie):
        await connection.connect()
    await tom.browser.alogout()
    await change_password(tom)
    await poll(serving)
    assert await is_open(by_token)
    assert await is_open(with_another_cookie)
    await tom.change(is_active=False)
    await jerry.user.user_permissions.aclear()
    await poll(serving)
    assert (await closed_with(by_token))[0] == 4401
    assert (await closed_with(with_another_cookie))[0] == 4403


class Bearer:
    """Whom a token names; no row is behind it."""

    is_authenticated = is_active = True
    is_staff = False

    def __init__(self, pk: int, permissions: set[str]) -> None:
        self.pk = pk
        self._permissions = permissions

    def get_username(self) -> str:
        return f"bearer {self.pk}"

    def has_perm(self, name: str) -> bool:
        return name in self._permissions


async def test_a_user_without_a_row_is_refused_unless_the_endpoint_accepts_them(
    serve: Serve,
) -> None:
    serving = await serve(private=LOGGED_IN, public=ECHO)
    users = [Bearer(7, set()), User(pk=999, username="never saved"), User(username="no key")]
    for user in users:
        answer = await Connection("private", user=user, headers=[ORIGIN]).connect()
        assert answer["type"] == "websocket.close"
    public = Connection("public", user=users[0], headers=[ORIGIN])
    assert (await public.connect())["type"] == "websocket.accept"
    await serving.node.recorder.flush()
    refused = [event.detail async for event in Event.objects.filter(kind="refused")]
    assert all("accept_users_without_row" in detail for detail in refused)
    await Endpoint.objects.filter(endpoint="private").aupdate(accept_users_without_row=True)
    await serving.node.look()
    private = Connection("private", user=users[0], headers=[ORIGIN])
    assert (await private.connect())["type"] == "websocket.accept"
    await poll(serving)
    assert await is_open(private)
    await Endpoint.objects.filter(endpoint="private").aupdate(accept_users_without_row=False)
    await serving.node.look()
    await poll(serving)
    assert await closed_with(private) == (4401, "the user can't be checked")
    assert await is_open(public)


async def test_a_user_without_a_row_is_asked_what_can_be_asked(serve: Serve) -> None:
    accepting = {**LOGGED_IN, "accept_users_without_row": True}
    serving = await serve(private=accepting, permitted={**accepting, "permission": PERMISSION})
    permissions = {PERMISSION}
    users = [Bearer(7, permissions), User(pk=999, username="never saved")]
    connections = [Connection("private", user=user, headers=[ORIGIN]) for user in users]
    connections.append(Connection("permitted", user=users[0], headers=[ORIGIN]))
    for connection in connections:
        assert (await connection.connect())["type"] == "websocket.accept"
    await poll(serving)
    for connection in connections:
        assert await is_open(connection)
    permissions.clear()
    await poll(serving)
    assert (await closed_with(connections.pop()))[0] == 4403
    for connection in connections:
        assert await is_open(connection)


class Guild:
    """A backend of a site's own, which says who may what, and at times can't say."""

    members: set[str] = set()
    away: set[str] = set()

    def authenticate(self, request: Any, **credentials: Any) -> None: ...

    def has_perm(self, user: User, name: str, obj: Any = None) -> bool:
        if user.username in self.away:
            raise LookupError(user.username)
        return user.username in self.members


@pytest.fixture
def guild(settings: Settings) -> type[Guild]:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.Guild",
    ]
    Guild.members, Guild.away = {"tom", "jerry"}, set()
    return Guild


async def test_a_sites_own_backend_is_asked_user_by_user_when_it_is_their_turn(
    serve: Serve, guild: type[Guild], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "ASKED_ALONE", 1)
    serving = await serve(permitted={**LOGGED_IN, "permission": PERMISSION})
    connections = [await (await log_in(name)).enter("permitted") for name in ("tom", "jerry")]
    await poll(serving)
    for connection in connections:
        assert await is_open(connection)
    guild.members.clear()
    await poll(serving)  # twice: one after the other
    for connection in connections:
        assert (await closed_with(connection))[0] == 4403


async def test_a_backend_that_fails_for_one_user_keeps_them_and_is_told(
    serve: Serve, guild: type[Guild]
) -> None:
    serving = await serve(permitted={**LOGGED_IN, "permission": PERMISSION})
    tom, jerry = await log_in("tom"), await log_in("jerry")
    failing, closing = await tom.enter("permitted"), await jerry.enter("permitted")
    guild.members, guild.away = set(), {"tom"}
    with pytest.raises(LookupError):
        await serving.revocation.poll()
    assert (await closed_with(closing))[0] == 4403
    assert await is_open(failing)
    guild.away = set()
    await poll(serving)
    assert (await closed_with(failing))[0] == 4403


def test_everybody_has_their_turn_those_first_who_waited_longest() -> None:
    turns = Turns(2)
    assert [turns.take("abc") for _ in range(3)] == [{"a", "b"}, {"c", "a"}, {"b", "a"}]
    assert turns.take("d") == {"d"}
    assert turns._last.keys() == {"d"}


# When something is away


async def test_nobody_is_closed_while_the_store_of_sessions_is_away(
    serve: Serve, settings: Settings
) -> None:
    serving = await serve(private=LOGGED_IN, staff={**ECHO, "access": "staff"})
    tom, jerry = await log_in("tom"), await log_in("jerry", is_staff=True)
    staying, closing = await tom.enter("private"), await jerry.enter("staff")
    engine, settings.SESSION_ENGINE = settings.SESSION_ENGINE, "no.such.engine"
    await jerry.change(is_staff=False)
    with pytest.raises(ModuleNotFoundError):
        await serving.revocation.poll()
    assert (await closed_with(closing))[0] == 4403  # that could be known
    assert await is_open(staying)
    settings.SESSION_ENGINE = engine
    await tom.browser.alogout()
    await poll(serving)
    assert (await closed_with(staying))[0] == 4401


@sync_to_async
def rename(table: str, name: str) -> None:
    with database.schema_editor() as editor:
        editor.alter_db_table(User, table, name)


async def test_nobody_is_closed_while_the_users_can_not_be_read(serve: Serve) -> None:
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    connection = await tom.enter("private")
    await tom.browser.alogout()
    await rename("auth_user", "away")
    try:
        with pytest.raises(DatabaseError):
            await serving.revocation.poll()
        assert await is_open(connection)
    finally:
        await rename("away", "auth_user")
    await poll(serving)
    assert (await closed_with(connection))[0] == 4401


# What it costs, and what it leaves behind


@sync_to_async
def queries_of_a_poll(serving: Serving) -> int:
    with CaptureQueriesContext(database) as captured:
        revocation.check_visits(serving.revocation._visits(), {})
    return len(captured)


async def test_a_poll_costs_the_same_few_queries_for_one_session_and_for_many(
    serve: Serve,
) -> None:
    grouped = await Endpoint.objects.acreate(endpoint="grouped", **LOGGED_IN)
    talkers = await Group.objects.acreate(name="talkers")
    await grouped.groups.aadd(talkers)
    permitted = {**LOGGED_IN, "permission": PERMISSION}
    serving = await serve(public=ECHO, private=LOGGED_IN, permitted=permitted)
    nobody = Connection("public")
    await nobody.connect()
    assert await queries_of_a_poll(serving) == 0
    people = [await log_in(f"user{number}") for number in range(8)]
    for person in people:
        await person.user.user_permissions.aadd(await permission())
        await person.user.groups.aadd(talkers)
    for path, queries in {"private": 2, "permitted": 5, "grouped": 6}.items():
        await people[0].enter(path)
        await poll(serving)
        assert await queries_of_a_poll(serving) == queries
    for person in people:
        for path in ("private", "permitted", "grouped"):
            await person.enter(path)
    await poll(serving)
    assert await queries_of_a_poll(serving) == 6


async def test_nothing_secret_is_in_rows_events_or_logs(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    serving = await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    connection = await tom.enter("private")
    (session,) = serving.node.peers
    key, shown = tom.key, repr(session.login)
    await tom.browser.alogout()
    await poll(serving)
    await closed_with(connection)
    assert await serving.node.recorder.flush()
    rows = [row async for row in Session.objects.values()]
    events = [row async for row in Event.objects.values()]
    for text in (shown, caplog.text, repr(rows), repr(events)):
        assert key not in text
        assert tom.user.get_session_auth_hash() not in text
    assert "logged out" in caplog.text


async def test_the_node_polls_by_itself(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    assert revocation.POLL_SECONDS * 2 < 5
    monkeypatch.setattr(revocation, "POLL_SECONDS", 0.05)
    await serve(private=LOGGED_IN)
    tom = await log_in("tom")
    connection = await tom.enter("private")
    await tom.browser.alogout()
    assert (await closed_with(connection))[0] == 4401
