"""Checks of the setting `WEBSOCKETS`: its keys, their types and their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints
from urllib.parse import quote

from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

from ..conf import WebsocketsSettings, app_settings
from ..core.environment import AllowedVariables, is_entry
from ..core.forwarding import UNIX_SOCKET, Proxies
from ..exceptions import InvalidEndpoint
from ..models.patterns import compile_route
from .tags import WEBSOCKETS

_WORDS: Final[Mapping[Any, str]] = {
    bool: "True or False",
    str: "a string",
    int: "an integer",
    float: "a number",
    NoneType: "None",
    Sequence[str]: "a list or tuple of strings",
    Mapping[str, str]: "a dict of strings",
}

_SHORTEST_SECRET: Final = 8


@checks.register(WEBSOCKETS)
def check_options(**kwargs: Any) -> list[checks.CheckMessage]:
    given = getattr(settings, "WEBSOCKETS", {})
    if not isinstance(given, Mapping):
        hint = 'Write it as WEBSOCKETS = {"HANDLER_PACKAGES": ["handlers"]}, or leave it out.'
        return [
            checks.Error(
                "The setting WEBSOCKETS isn't a dict.", hint=hint, id="websockets_app.E001"
            )
        ]
    found = [message for key, value in given.items() for message in _check(key, value)]
    return found or list(_check_together())


def are_usable() -> bool:
    """Tell whether the other checks may ask `app_settings`: the types here are right."""
    return not any(message.is_serious() for message in check_options())


def _check(key: str, value: object) -> Iterator[checks.CheckMessage]:
    if key not in app_settings.keys():  # noqa: SIM118 - a method of its own
        yield _unknown(key)
    elif not _fits(value, wanted := get_type_hints(WebsocketsSettings)[key]):
        yield checks.Error(
            f"WEBSOCKETS[{key!r}] is {value!r}, and has to be {_in_words(wanted)}.",
            id="websockets_app.E003",
        )
    else:
        yield from _CHECKS.get(key, _check_positive)(key, value)


def _unknown(key: str) -> checks.Error:
    similar = get_close_matches(str(key).upper(), app_settings.keys(), n=1)
    known = ", ".join(app_settings.keys())
    return checks.Error(
        f"WEBSOCKETS has no key {key!r}.",
        hint=f"Did you mean {similar[0]!r}?" if similar else f"The keys are {known}.",
        id="websockets_app.E002",
    )


def _fits(value: object, wanted: Any) -> bool:
    parts = get_args(wanted)
    if get_origin(wanted) is UnionType:
        return any(_fits(value, part) for part in parts)
    if get_origin(wanted) is Sequence:
        return isinstance(value, (list, tuple)) and all(_fits(item, parts[0]) for item in value)
    if get_origin(wanted) is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(part, str) for item in value.items() for part in item
        )
    if wanted in (int, float):
        return isinstance(value, (int, wanted)) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _in_words(wanted: Any) -> str:
    if get_origin(wanted) is UnionType:
        return " or ".join(_WORDS[part] for part in get_args(wanted))
    return _WORDS[wanted]


def _bad_value(key: str, value: object, allowed: str) -> checks.Error:
    return checks.Error(
        f"WEBSOCKETS[{key!r}] is {value!r}, and has to be {allowed}.", id="websockets_app.E004"
    )


def _check_positive(key: str, value: Any) -> Iterator[checks.CheckMessage]:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
        yield _bad_value(key, value, "greater than 0")


def _one_of(*allowed: str) -> Callable[[str, Any], Iterator[checks.CheckMessage]]:
    def check(key: str, value: Any) -> Iterator[checks.CheckMessage]:
        if value not in allowed:
            yield _bad_value(key, value, " or ".join(map(repr, allowed)))

    return check


def _check_prefix(key: str, value: str) -> Iterator[checks.CheckMessage]:
    if any(character in "<>" or character.isspace() for character in value) or not _is_path(value):
        yield _bad_value(key, value, "a plain path, as 'websockets/v4/service/'")


def _is_path(prefix: str) -> bool:
    try:
        compile_route("/" + f"{prefix.strip('/')}/endpoint".lstrip("/"))
    except InvalidEndpoint:
        return False
    return True


def _check_engines(key: str, value: Mapping[str, str]) -> Iterator[checks.CheckMessage]:
    for name, path in value.items():
        try:
            engine = import_string(path)
        except ImportError as error:
            problem = str(error)
        else:
            methods = [m for m in ("resolve", "load", "discover") if not hasattr(engine, m)]
            problem = f"it has no {', '.join(methods)}" if methods else ""
        if problem:
            yield checks.Error(
                f"WEBSOCKETS['ENGINES'][{name!r}] is {path!r}, which is no engine: {problem}.",
                hint="Name a class with the methods of websockets_app.dispatch.engines.Engine.",
                id="websockets_app.E005",
            )


def _check_packages(key: str, value: Sequence[str]) -> Iterator[checks.CheckMessage]:
    for package in value:
        if not all(part.isidentifier() for part in package.split(".")):
            yield checks.Error(
                f"WEBSOCKETS['HANDLER_PACKAGES'] has {package!r}, which is no package's name.",
                hint="Write it as in an import: mysite.handlers, not mysite/handlers.",
                id="websockets_app.E006",
            )
        elif problem := _why_missing(package):
            yield checks.Warning(
                f"WEBSOCKETS['HANDLER_PACKAGES'] has {package!r}: {problem}.",
                hint="Create the package, with an __init__.py, or take it off the list.",
                id="websockets_app.W007",
            )


def _check_rate_store(key: str, value: str | None) -> Iterator[checks.CheckMessage]:
    try:
        from ..inbound.rate_store import RateStore

        if value is not None:
            RateStore(value)  # which connects to nothing yet
    except ImportError as error:
        yield checks.Error(
            f"WEBSOCKETS['RATE_STORE'] needs what isn't installed: {error}.",
            hint="pip install 'django-websockets-app[redis]'",
            id="websockets_app.E008",
        )
    except ValueError as error:  # the URL itself may hold a password
        yield checks.Error(
            f"WEBSOCKETS['RATE_STORE'] isn't a URL of Redis: {error}",
            hint="Write it as redis://host:6379/0, rediss://… or unix://….",
            id="websockets_app.E004",
        )


def _check_callable(key: str, value: str | None) -> Iterator[checks.CheckMessage]:
    try:
        if value is not None and not callable(import_string(value)):
            yield _bad_value(key, value, "the dotted path of a function or class")
    except ImportError:
        yield _bad_value(key, value, "a dotted path that can be imported")


def _check_proxies(key: str, value: Sequence[str]) -> Iterator[checks.CheckMessage]:
    for entry in value:
        try:
            Proxies.of([entry])
        except ValueError as error:
            yield checks.Error(
                f"WEBSOCKETS['TRUSTED_PROXIES'] has {entry!r}: {error}.",
                hint=f"Write addresses, networks as 10.0.0.0/8, and {UNIX_SOCKET!r}.",
                id="websockets_app.E004",
            )


def _check_environment(key: str, value: Sequence[str]) -> Iterator[checks.CheckMessage]:
    for entry in value:
        if not is_entry(entry):
            yield checks.Error(
                f"WEBSOCKETS['CLIENT_ENVIRONMENT'] has {entry!r}, which is neither the name of an "
                "environment variable nor a prefix followed by *.",
                hint='Write each as "FEED_TOKEN" or "FEED_*". "*" alone would allow every secret.',
                id="websockets_app.E004",
            )
    allowed = AllowedVariables(value)
    for name in filter(allowed.__contains__, os.environ):
        if held := _setting_in(os.environ[name]):
            yield checks.Warning(
                f"WEBSOCKETS['CLIENT_ENVIRONMENT'] allows {name}, which holds {held}: users who "
                "may add or change clients can read it.",
                hint="List the variables that clients need by their full names.",
                id="websockets_app.W009",
            )


def _setting_in(value: str) -> str:
    """Return the name of the setting whose secret is in `value`, or an empty string."""
    secrets: dict[str, object] = {"SECRET_KEY": settings.SECRET_KEY}
    for alias, database in settings.DATABASES.items():
        secrets[f"DATABASES[{alias!r}]['PASSWORD']"] = database.get("PASSWORD")
    return next((name for name, secret in secrets.items() if _holds(value, secret)), "")


def _holds(value: str, secret: object) -> bool:
    """Return whether `secret` is in `value`; a short one could be there by chance."""
    text = str(secret or "")
    return len(text) >= _SHORTEST_SECRET and (text in value or quote(text, safe="") in value)


def _why_missing(package: str) -> str:
    try:
        return "" if find_spec(package) else "there is no such package"
    except ModuleNotFoundError:
        return "there is no such package"
    except Exception as error:
        return f"it can't be imported: {type(error).__name__}: {error}"


def _check_together() -> Iterator[checks.CheckMessage]:
    ttl, interval = app_settings.NODE_TTL, app_settings.HEARTBEAT_INTERVAL
    if ttl < 3 * interval:
        # A node that looked away for half of NODE_TTL begins anew: it might have been paused.
        allowed = f"at least three times HEARTBEAT_INTERVAL ({interval}), or no node is ever lost"
        yield _bad_value("NODE_TTL", ttl, allowed)
    if bool(app_settings.TENANT_OF) != bool(app_settings.TENANT_CONTEXT):
        key = "TENANT_OF" if app_settings.TENANT_CONTEXT else "TENANT_CONTEXT"
        yield _bad_value(key, None, "set, since TENANT_OF and TENANT_CONTEXT work together")


_CHECKS: Final[Mapping[str, Callable[[str, Any], Iterator[checks.CheckMessage]]]] = {
    "PREFIX": _check_prefix,
    "HANDLER_PACKAGES": _check_packages,
    "ENGINES": _check_engines,
    "REFUSE_WITH": _one_of("http", "close"),
    "TENANT_OF": _check_callable,
    "TENANT_CONTEXT": _check_callable,
    "RECORDING": _one_of("background", "inline", "off"),
    "RATE_STORE": _check_rate_store,
    "TRUSTED_PROXIES": _check_proxies,
    "CLIENT_ENVIRONMENT": _check_environment,
}
