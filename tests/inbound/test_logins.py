"""Whose session it is: what Django says, for less; asked of Django where a site has its say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.conf import settings as site
from django.contrib.auth import get_user
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User, UserManager
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet
from django.db.models.sql.compiler import SQLCompiler
from django.http import HttpRequest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from websockets_app.inbound import logins

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
ALLOWS_ALL = "django.contrib.auth.backends.AllowAllUsersModelBackend"


class Directory(ModelBackend):
    """A site's own: it knows its users without their rows."""

    def get_user(self, user_id: int) -> User:
        user = User(pk=user_id, username="of the directory", is_staff=True)
        user.password = User.objects.get(pk=user_id).password
        return user


DIRECTORY = f"{__name__}.{Directory.__qualname__}"


class SessionStore(db.SessionStore):
    """A site's own: who is blocked has nothing stored."""

    blocked: ClassVar[set[str]] = set()

    def load(self) -> dict[str, Any]:
        return {} if self.session_key in self.blocked else super().load()


def log_in(backend: str = MODEL_BACKEND, **fields: Any) -> tuple[User, str]:
    """Return a user and the key of their session, saved as Django's login view does."""
    user = User.objects.create_user("ann", password="secret", **fields)
    session = import_module(site.SESSION_ENGINE).SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = backend
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    return user, session.session_key


def change(key: str, name: str, value: object) -> None:
    session = import_module(site.SESSION_ENGINE).SessionStore(key)
    session[name] = value
    session.save()


def of_django(key: str) -> Any:
    """Return whom a view would see, with a session of its own."""
    request = HttpRequest()
    request.session = import_module(site.SESSION_ENGINE).SessionStore(key)
    return get_user(request)


def change_password(user: User) -> None:
    user.set_password("another")
    user.save()


def expire(user: User) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("happens", "is_known"),
    [
        (lambda user: None, True),
        (lambda user: User.objects.update(first_name="Ann", is_staff=True), True),
        (lambda user: User.objects.update(is_active=False), False),
        (lambda user: user.delete(), False),
        (change_password, False),
        (expire, False),
        (lambda user: Session.objects.all().delete(), False),
    ],
    ids=["nothing", "saved", "inactive", "deleted", "password", "expired", "logged-out"],
)
@pytest.mark.django_db
def test_a_user_is_known_as_by_django(happens: Callable[[User], None], is_known: bool) -> None:
    user, key = log_in()
    assert logins.load_user(key).user == user
    happens(user)

    known = logins.load_user(key)

    assert known.user.is_authenticated == is_known
    assert (known.login is not None) == is_known
    seen = of_django(key)
    assert known.user == seen
    if is_known:
        shown = [field.attname for field in User._meta.concrete_fields]
        assert {name: getattr(known.user, name) for name in shown} == {
            name: getattr(seen, name) for name in shown
        }
        assert known.user._state.db == "default"
        assert not known.user._state.adding


@pytest.mark.parametrize(
    ("engine", "backend"),
    [
        ("django.contrib.sessions.backends.db", MODEL_BACKEND),
        ("django.contrib.sessions.backends.db", ALLOWS_ALL),
        ("django.contrib.sessions.backends.db", DIRECTORY),
        ("django.contrib.sessions.backends.cached_db", MODEL_BACKEND),
        ("django.contrib.sessions.backends.file", MODEL_BACKEND),
        (__name__, MODEL_BACKEND),
    ],
)
@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.django_db
def test_a_sites_own_store_and_backend_have_their_say(
    engine: str,
    backend: str,
    is_active: bool,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SESSION_ENGINE = engine
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.AUTHENTICATION_BACKENDS = [backend]
    _, key = log_in(backend, is_active=is_active)

    known = logins.load_user(key)

    seen = of_django(key)
    assert (known.user, known.user.is_staff) == (seen, seen.is_staff)
    assert known.user.is_authenticated == (is_active or backend != MODEL_BACKEND)
    if engine == __name__:
        monkeypatch.setattr(SessionStore, "blocked", {key})
        assert not logins.load_user(key).user.is_authenticated


@pytest.mark.django_db
def test_a_session_of_a_backend_that_the_site_has_no_more_is_nobodys(settings: Settings) -> None:
    _, key = log_in(MODEL_BACKEND)
    settings.AUTHENTICATION_BACKENDS = [ALLOWS_ALL]

    assert not logins.load_user(key).user.is_authenticated


@pytest.mark.parametrize("of_session", ["", None])
@pytest.mark.django_db
def test_a_session_without_a_hash_is_nobodys_whatever_the_users(
    of_session: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, key = log_in()
    assert logins.load_user(key).user == user
    change(key, "_auth_user_hash", of_session)
    monkeypatch.setattr(User, "get_session_auth_hash", lambda user: "")

    assert not logins.load_user(key).user.is_authenticated
    assert not of_django(key).is_authenticated


@pytest.mark.django_db
def test_a_key_that_no_user_can_have_is_nobodys() -> None:
    user, key = log_in()
    assert logins.load_user(key).user == user
    change(key, "_auth_user_id", "9" * 30)

    assert not logins.load_user(key).user.is_authenticated
    assert not of_django(key).is_authenticated


@pytest.mark.parametrize("key", ["", "short", "x" * 32, "x" * 500, "'; --"])
@pytest.mark.django_db
def test_an_unknown_key_is_nobodys(key: str) -> None:
    log_in()

    assert not logins.load_user(key).user.is_authenticated


@pytest.mark.django_db
def test_a_manager_that_shows_each_time_others_is_asked_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that knows the tenant of today."""
    hidden: set[str] = set()

    def get_queryset(manager: Any) -> QuerySet[User]:
        return QuerySet(manager.model, using=manager._db).exclude(username__in=hidden)

    user, key = log_in()
    monkeypatch.setattr(UserManager, "get_queryset", get_queryset)
    assert logins.load_user(key).user == user

    hidden.add(user.username)

    assert not logins.load_user(key).user.is_authenticated


@pytest.mark.django_db
def test_the_sql_of_a_handshake_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    user, key = log_in()
    logins.load_user(key)
    made: list[object] = []
    as_sql = SQLCompiler.as_sql

    def counted(compiler: SQLCompiler, *args: Any, **options: Any) -> Any:
        made.append(compiler)
        return as_sql(compiler, *args, **options)

    monkeypatch.setattr(SQLCompiler, "as_sql", counted)

    with CaptureQueriesContext(connection) as queries:
        assert logins.load_user(key).user == user

    assert len(queries) == 2
    assert not made
    assert of_django(key) == user
    assert made, "nothing counts any more"
