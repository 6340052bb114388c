"""Logins: the Django session that a user is known by, at the handshake and ever after."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, NamedTuple, cast

from django.apps import apps
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user,
    get_user_model,
    load_backend,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends import cache, cached_db, db, signed_cookies
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models.functions import Length
from django.http import HttpRequest, parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..conf import app_settings
from ..node.ended_logins import ended_logins
from .portions import Turns, portions
from .prepared import is_plain, prepared
from .rights import is_of_another_database

LOGIN_ID: Final = "_websockets_app_login"
"""The key of Django sessions in signed cookies that has the id of the login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a Django session says about who is logged in by it. Its secrets are in no `repr`."""

    key: str = field(repr=False)
    user_id: str
    auth_hash: str = field(repr=False)
    stamp: object = None
    """Differs once the stored session does; None before the store was asked for it."""
    id: str = ""
    """What a logout calls the login; empty if the store of sessions can be asked instead."""

    @property
    def has_ended(self) -> bool:
        """Whether a logout said so lately. The store of sessions may know more."""
        return self.id in ended_logins


class Known(NamedTuple):
    """A user, and the login by which Django knows them, where there is one."""

    user: Any
    login: Login | None


class _HandshakeSession(dict[str, Any]):
    """A Django session as it was stored.

    `get_user()` wants to renew the key of a session that an older SECRET_KEY signed. A handshake
    sets no cookie, so that would log the user out: here renewing does nothing.
    """

    def cycle_key(self) -> None:
        """Keep the key."""

    def flush(self) -> None:
        """Keep the row, too."""
        self.clear()


def session_key(headers: Mapping[str, str]) -> str | None:
    """Return the key of the site's session cookie; None where it can't be one."""
    key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    return key if key and key.isprintable() else None  # PostgreSQL raises for a NUL, say


def load_user(key: str) -> Known:
    """Return whose session has `key`; nobody, where it has none. Sync: reads the store."""
    if not apps.is_installed("django.contrib.sessions"):
        return Known(AnonymousUser(), None)
    stored = _load(key)
    login = _login(key, stored)
    if login is not None and login.has_ended:
        return Known(AnonymousUser(), None)
    try:
        user = _user_of(stored, login) if login else AnonymousUser()
    except ImproperlyConfigured:
        user = AnonymousUser()
    return Known(user, login if user.is_authenticated else None)


def with_login(user: Any, session: object, key: str | None) -> Known:
    """Return `user`, whom a middleware knows, and their login. Sync: reads the store.

    One who is known by other means, a token say, has none: not even where the cookie of somebody
    else's session comes along. `session` is the middleware's, where it has one.
    """
    if not user.is_authenticated or not apps.is_installed("django.contrib.sessions"):
        return Known(user, None)
    if isinstance(session, SessionBase):
        login = login_of(session)
    else:
        login = _login(key, _store()(key).load()) if key else None
    if login is None or login.user_id != _id_of(user):
        return Known(user, None)
    # The key alone may be that of somebody else, in the database where the login was made.
    is_theirs = not is_of_another_database(user) or is_verified(login, user)
    return Known(user, login if is_theirs else None)


def _load(key: str) -> dict[str, Any]:
    """Return what is stored of the session, as its store's `load()` does."""
    store = _store()
    if store is not db.SessionStore or not is_plain(store.get_model_class()):
        return dict(store(key).load())
    query = prepared(store.get_model_class(), "session_key", "expire_date__gt")
    row = query.get(key, timezone.now())
    return dict(store().decode(row.session_data)) if row else {}


def _user_of(stored: Mapping[str, Any], login: Login) -> Any:
    """Return the user whose session it is, as `contrib.auth.get_user()` does."""
    backend = _model_backend(stored)
    if backend is None:
        request = HttpRequest()
        request.session = _HandshakeSession(stored)  # type: ignore[assignment]
        return get_user(request)
    model = get_user_model()
    user = prepared(model, "pk").get(model._meta.pk.to_python(stored[SESSION_KEY]))
    known = user and backend.user_can_authenticate(user) and is_verified(login, user)
    return user if known else AnonymousUser()


def _model_backend(stored: Mapping[str, Any]) -> ModelBackend | None:
    """Return the backend that the user logged in by, where all it does is to read their row."""
    path = stored.get(BACKEND_SESSION_KEY) or ""
    if path not in settings.AUTHENTICATION_BACKENDS or not is_plain(get_user_model()):
        return None
    backend = load_backend(path)
    only_reads = getattr(type(backend), "get_user", None) is ModelBackend.get_user
    return cast(ModelBackend, backend) if only_reads else None


def is_verified(login: Login, user: Any) -> bool:
    """Tell as Django does whether the user still has the password that they logged in with."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if not login.auth_hash:
        return False
    if constant_time_compare(login.auth_hash, user.get_session_auth_hash()):
        return True
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    return any(constant_time_compare(login.auth_hash, fallback) for fallback in fallbacks())


def look_up(logins: Collection[Login], turns: Turns) -> dict[str, Login]:
    """Return the logins as they are stored now, by key; those that have ended are missing.

    Django's stores in the database and in a cache are asked for all of them together. Others can
    only be asked one by one, and are so when it is a login's turn: until then it is as it was.
    """
    if not logins:
        return {}
    known = {login.key: login for login in logins}
    store = _store()
    read = _READERS.get(store.load)
    if read is not None:
        return read(store, known)
    chosen = turns.take(known)
    rest = {key: login for key, login in known.items() if key not in chosen}
    return rest | _found((key, store(key).load(), None) for key in known.keys() & chosen)


def _rows(store: Any, known: Mapping[str, Login]) -> dict[str, Login]:
    """Read the sessions' rows, and what is in them only where they were saved again.

    Each save moves the date of expiry. Reading from where is written: a replica may lag behind.
    """
    model = store.get_model_class()
    rows = model._default_manager.using(router.db_for_write(model))
    rows = rows.filter(expire_date__gt=timezone.now())
    found: dict[str, Login] = {}
    for keys in portions(known):
        sized = rows.filter(session_key__in=keys).annotate(size=Length("session_data"))
        stamped = sized.values_list("session_key", "expire_date", "size")
        stamps = {key: (expires, size) for key, expires, size in stamped}
        moved = [key for key, stamp in stamps.items() if known[key].stamp != stamp]
        found |= {key: known[key] for key in stamps.keys() - set(moved)}
        texts = rows.filter(session_key__in=moved).values_list("session_key", "session_data")
        decode = store().decode
        found |= _found((key, decode(text), stamps[key]) for key, text in texts)
    return found


def _cached(store: Any, known: Mapping[str, Login]) -> dict[str, Login]:
    """Read the sessions out of the cache."""
    prefix, found = store.cache_key_prefix, dict[str, Login]()
    for keys in portions(known):
        entries = store()._cache.get_many([prefix + key for key in keys])
        found |= _found((name.removeprefix(prefix), data, None) for name, data in entries.items())
    return found


_READERS: Final[Mapping[object, Callable[[Any, Mapping[str, Login]], dict[str, Login]]]] = {
    db.SessionStore.load: _rows,
    cached_db.SessionStore.load: _rows,  # what the cache has, the database has
    cache.SessionStore.load: _cached,
}
"""How to read many sessions, by the function that reads one: subclasses may inherit it."""


def _found(sessions: Iterable[tuple[str, Any, object]]) -> dict[str, Login]:
    logins = (_login(key, data, stamp) for key, data, stamp in sessions)
    return {login.key: login for login in logins if login is not None}


def _login(key: str, data: Any, stamp: object = None) -> Login | None:
    """Return the login that the data of a session tell of, or None."""
    user_id = data.get(SESSION_KEY)
    if not key or user_id is None:
        return None
    auth_hash = data.get(HASH_SESSION_KEY) or ""
    login_id = _id_of_login(data) if are_in_signed_cookies() else ""
    return Login(key=key, user_id=str(user_id), auth_hash=auth_hash, stamp=stamp, id=login_id)


def login_of(session: SessionBase) -> Login | None:
    """Return the login of a request's session, or None. Sync: may read the store."""
    return _login(session.session_key or "", session)


def are_in_signed_cookies() -> bool:
    """Return whether browsers alone keep the site's Django sessions."""
    return issubclass(_store(), signed_cookies.SessionStore)


def are_accepted() -> bool:
    """Return whether endpoints that need a user accept the site's Django sessions."""
    return app_settings.ACCEPT_SIGNED_COOKIE_SESSIONS or not are_in_signed_cookies()


def _id_of_login(data: Any) -> str:
    """Return what handshake and logout call the login, although the cookie's value changes.

    A login that is older than this app has no id: all such logins of a user share one, until the
    password is changed.
    """
    if login_id := data.get(LOGIN_ID):
        return str(login_id)
    older = f"{data[SESSION_KEY]}:{data.get(HASH_SESSION_KEY) or ''}"
    return sha256(older.encode()).hexdigest()


def _id_of(user: Any) -> str:
    """Return the user's key as Django writes it into a session."""
    meta = getattr(user, "_meta", None)
    return str(meta.pk.value_to_string(user) if meta else getattr(user, "pk", None))


def _store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore
