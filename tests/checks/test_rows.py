"""Endpoints and clients that can't do what they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from tests.infrastructure.site import Site
from websockets_app.checks.rows import check_rows
from websockets_app.models import Client, Endpoint

pytestmark = pytest.mark.django_db


def ids(messages: list[Any]) -> list[str]:
    return [str(message.id).removeprefix("websockets_app.") for message in messages]


def check() -> list[Any]:
    return check_rows(databases=["default"])


def test_rows_that_work_are_fine() -> None:
    Endpoint.objects.create(endpoint="echo", handler="handlers.echo")
    Client.objects.create(name="feed", uri="ws://x/", handler="handlers.printer")
    assert check() == []


def test_an_endpoint_whose_handler_is_missing_unless_it_is_disabled() -> None:
    row = Endpoint.objects.create(endpoint="echo", handler="handlers.nope")
    (message,) = check()
    assert (message.id, message.obj) == ("websockets_app.W040", row)
    assert "handlers.nope" in message.msg
    Endpoint.objects.all().disable()
    assert check() == []


def test_a_row_whose_engine_is_not_configured() -> None:
    Endpoint.objects.create(endpoint="echo", handler="handlers.echo", engine="lua")
    assert ids(check()) == ["W040"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("chat/<nope:x>", "'nope'"),
        ("chat/<slug:a>-<slug:b>", "2 captures in one segment"),
        ("<path:a>/<path:b>", "'a' and 'b'"),
    ],
)
def test_a_path_that_cannot_be_served(path: str, reason: str) -> None:
    Endpoint.objects.create(endpoint=path, handler="handlers.echo")
    (message,) = check()
    assert message.id == "websockets_app.W040"
    assert reason in message.msg


def test_values_that_no_form_would_take() -> None:
    Endpoint.objects.create(endpoint="echo", handler="handlers.echo", origins="*")
    Client.objects.create(name="feed", uri="ws://x/", handler="handlers.printer", headers=["a"])
    endpoint, client = check()
    assert (endpoint.id, client.id) == ("websockets_app.W040", "websockets_app.W042")
    assert "origins" in endpoint.msg
    assert "headers" in client.msg


def test_an_endpoint_that_is_never_reached() -> None:
    Endpoint.objects.create(endpoint="chat/<slug:room>", handler="handlers.room")
    row = Endpoint.objects.create(endpoint="chat/kitchen", handler="handlers.room")
    (message,) = check()
    assert (message.id, message.obj) == ("websockets_app.W041", row)


def test_an_endpoint_that_gets_the_url_of_another_with_a_new_prefix(settings: Settings) -> None:
    older = Endpoint.objects.create(endpoint="/ws/ticker", handler="handlers.echo")
    newer = Endpoint.objects.create(endpoint="ticker", handler="handlers.echo")
    assert check() == []
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "PREFIX": "ws/"}
    (message,) = check()
    assert (message.id, message.obj) == ("websockets_app.W041", newer)
    assert str(older) in message.msg


def test_a_client_whose_handler_is_missing_unless_it_is_stopped() -> None:
    Client.objects.create(name="feed", uri="ws://x/", handler="handlers.nope")
    assert ids(check()) == ["W042"]
    Client.objects.all().stop()
    assert check() == []


def test_a_rate_of_all_processes_that_each_counts_for_itself(settings: Settings) -> None:
    fields = {"handler": "handlers.echo", "rate_scope": "user"}
    row = Endpoint.objects.create(endpoint="users", **fields)
    Endpoint.objects.create(endpoint="unlimited", messages_per_second=0, **fields)
    Endpoint.objects.create(endpoint="sessions", handler="handlers.echo")
    (message,) = check()
    assert (message.id, message.obj) == ("websockets_app.W043", row)
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "RATE_STORE": "redis://localhost"}
    assert check() == []


@pytest.mark.parametrize("databases", [None, [], ["other"]])
def test_databases_that_were_not_named_are_not_asked(
    databases: list[str] | None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert check_rows(databases=databases) == []


def test_a_database_without_tables_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("no such table: websockets_app_endpoint")

    monkeypatch.setattr(Endpoint.objects, "filter", fail)
    assert check() == []


def test_settings_that_are_wrong_are_left_to_their_own_check(settings: Settings) -> None:
    settings.WEBSOCKETS = ["wrong"]
    assert check() == []


def test_the_command_runs_it_where_a_database_is_named(site: Site) -> None:
    site.shell("Endpoint.objects.create(endpoint='echo', handler='handlers.nope')")
    assert "W040" in site.manage("check", "--database", "default").stderr
    assert "W040" not in site.manage("check").stderr


def test_a_row_with_a_problem_does_not_keep_a_site_from_migrating(site: Site) -> None:
    site.shell("Endpoint.objects.create(endpoint='echo', handler='handlers.nope')")
    assert "W040" in site.manage("migrate").stderr


@pytest.mark.parametrize("desired", ["run", "stop"])
def test_a_client_that_reads_a_variable_which_is_not_allowed(
    settings: Settings, desired: str
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "CLIENT_ENVIRONMENT": ["FEED_*"]}
    uri = "ws://x/?a=env:FEED_TOKEN&b=env:DJANGO_SECRET_KEY"
    Client.objects.create(name="feed", uri=uri, handler="handlers.printer", desired=desired)
    (message,) = check()
    assert message.id == "websockets_app.W044"
    assert "feed" in message.msg
    assert "env:DJANGO_SECRET_KEY" in message.msg
    assert "CLIENT_ENVIRONMENT" in message.msg


@pytest.mark.parametrize(
    ("hosts", "proxies", "expected"),
    [
        (["proxy.internal"], [], ["W045"]),
        ([".internal"], ["10.0.0.1"], ["W045"]),
        (["proxy.internal"], ["proxy.internal"], []),
        ([], [], []),
    ],
)
def test_a_proxy_that_is_listed_as_a_host_only(
    settings: Settings, hosts: list[str], proxies: list[str], expected: list[str]
) -> None:
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS,
        "ALLOWED_CLIENT_HOSTS": hosts,
        "ALLOWED_CLIENT_PROXIES": proxies,
    }
    proxy = "http://me:secret@proxy.internal:3128"
    Client.objects.create(name="feed", uri="ws://x/", handler="handlers.printer", proxy=proxy)
    assert ids(check()) == expected
