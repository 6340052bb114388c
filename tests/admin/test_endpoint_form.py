"""The form of an endpoint: which handlers it takes, and what it tells of others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client as Browser
from pytest_django import Settings

from tests.admin.pages import errors, form_data, recorded, told, url
from websockets_app.models import Endpoint, EndpointGroup

ADD = "add"
CHANGE = "change"


def submit(browser: Browser, **fields: Any) -> Any:
    """Fill the form of a new endpoint in, and send it."""
    page = browser.get(url(Endpoint, ADD))
    data = form_data(page) | {"endpoint": "mine", "handler": "handlers.echo"} | fields
    return browser.post(url(Endpoint, ADD), data)


@pytest.mark.parametrize(
    "spelling",
    ["my_project.ws_handler", "my-project/ws-handler", "/my-project/ws-handler.py",
     "my-project/ws-handler.js", "written_handlers.my_project.ws_handler"],
)  # fmt: skip
def test_each_spelling_is_stored_as_the_one_module(
    admin_client: Browser, write_handler: Callable[[str, str], str], spelling: str, tmp_path: Any
) -> None:
    (tmp_path / "written_handlers" / "my_project").mkdir()
    (tmp_path / "written_handlers" / "my_project" / "__init__.py").touch()
    write_handler("my_project/ws_handler", "def on_message(message): pass")
    submit(admin_client, handler=spelling)
    assert Endpoint.objects.get().handler == "written_handlers.my_project.ws_handler"


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ("os.path", "looked for handlers.os.path"),
        ("this", "looked for handlers.this"),
        ("../secrets", "is no public module name"),
        ("handlers._private", "is no public module name"),
        ("handlers.nope", "looked for handlers.nope"),
        ("eval(1)", "is no public module name"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(
    admin_client: Browser, refused: str, reason: str
) -> None:
    sys.modules.pop("this", None)
    response = submit(admin_client, handler=refused)
    assert reason in errors(response)["handler"][0]
    assert not Endpoint.objects.exists()
    assert "this" not in sys.modules


def test_a_refused_module_is_never_imported(
    admin_client: Browser, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "handler" in errors(submit(admin_client, handler="outside"))
    assert "outside" not in sys.modules


def test_a_handler_that_cannot_be_loaded_is_saved_with_a_warning(
    admin_client: Browser, write_handler: Callable[[str, str], str]
) -> None:
    name = write_handler("odd", "def on_message(message, colour): pass")
    response = submit(admin_client, handler=name)
    assert Endpoint.objects.get().handler == name
    assert any("in this process" in text and "colour" in text for text in told(response))


def test_the_handlers_there_are_are_offered(
    admin_client: Browser, write_handler: Callable[[str, str], str]
) -> None:
    name = write_handler("fresh", "def on_open(): pass")
    page = admin_client.get(url(Endpoint, ADD)).content.decode()
    assert '<datalist id="id_handler-offered">' in page
    assert f'<option value="{name}">' in page
    assert '<option value="handlers.echo">' in page


def test_the_configured_engines_are_the_choice(admin_client: Browser, settings: Settings) -> None:
    python = "websockets_app.dispatch.engines.PythonEngine"
    settings.WEBSOCKETS = {"ENGINES": {"python": python, "other": python}}
    page = admin_client.get(url(Endpoint, ADD))
    choices = page.context["adminform"].form.fields["engine"].choices
    assert [value for value, _ in choices] == ["python", "other"]


def test_an_engine_that_is_gone_is_seen_and_refused(
    admin_client: Browser, settings: Settings
) -> None:
    row = Endpoint.objects.create(endpoint="old", handler="handlers.echo", engine="lua")
    page = admin_client.get(url(Endpoint, CHANGE, row.pk))
    response = admin_client.post(url(Endpoint, CHANGE, row.pk), form_data(page))
    assert "No engine 'lua'" in errors(response)["engine"][0]


def test_an_emptied_json_field_is_an_empty_list(admin_client: Browser) -> None:
    submit(admin_client, origins="", subprotocols="")
    row = Endpoint.objects.get()
    assert (row.origins, row.subprotocols) == ([], [])


@pytest.mark.parametrize("value", ['{"a": 1}', '"https://example.com"', "[1]"])
def test_origins_are_a_list_of_strings(admin_client: Browser, value: str) -> None:
    assert errors(submit(admin_client, origins=value)) == {
        "origins": ["Write a JSON list of strings."]
    }


def test_limits_are_saved_and_cannot_be_negative(admin_client: Browser) -> None:
    given = {"messages_per_second": 2.5, "message_burst": 7, "rate_scope": "user",
             "max_sessions": 3, "max_sessions_per_user": 2, "max_sessions_per_address": 1,
             "idle_timeout": 60.0, "send_timeout": 0.0}  # fmt: skip
    response = submit(admin_client, **dict.fromkeys(given, -1))
    assert errors(response).keys() == given.keys()
    submit(admin_client, **given)
    assert Endpoint.objects.values(*given).get() == given


def test_a_path_that_cannot_be_served_is_refused(admin_client: Browser) -> None:
    assert "endpoint" in errors(submit(admin_client, endpoint="chat/<nope:x>"))


def test_another_writing_of_a_url_that_a_row_has_is_refused(admin_client: Browser) -> None:
    submit(admin_client, endpoint="ticker")
    response = submit(admin_client, endpoint="/websockets/v4/service/ticker", access="public")
    assert errors(response) == {"endpoint": ["The endpoint ticker already has this URL."]}
    assert Endpoint.objects.get().endpoint == "ticker"


def test_help_shows_the_brackets_of_a_path(admin_client: Browser) -> None:
    page = admin_client.get(url(Endpoint, ADD)).content.decode()
    assert "chat/&lt;slug:room&gt;" in page


def test_groups_are_saved_with_the_row_that_they_guard(admin_client: Browser) -> None:
    group = Group.objects.create(name="ops")
    submit(
        admin_client,
        **{
            "endpointgroup_set-TOTAL_FORMS": "1",
            "endpointgroup_set-0-group": str(group.pk),
        },
    )
    assert EndpointGroup.objects.get().group == group


def test_a_change_leaves_a_record_without_values(admin_client: Browser) -> None:
    row = Endpoint.objects.create(endpoint="mine", handler="handlers.echo")
    page = admin_client.get(url(Endpoint, CHANGE, row.pk))
    data = form_data(page) | {"handler": "handlers.room"}
    admin_client.post(url(Endpoint, CHANGE, row.pk), data)
    assert recorded(row) == ["Changed Handler."]


def test_the_page_says_which_rows_share_paths(admin_client: Browser) -> None:
    older = Endpoint.objects.create(endpoint="chat/<slug:room>", handler="handlers.room")
    newer = Endpoint.objects.create(endpoint="chat/kitchen", handler="handlers.room")
    page = admin_client.get(url(Endpoint, CHANGE, newer.pk)).content.decode()
    assert "Never reached" in page
    assert url(Endpoint, CHANGE, older.pk) in page
    page = admin_client.get(url(Endpoint, CHANGE, older.pk)).content.decode()
    assert "Takes every path of" in page
    assert url(Endpoint, CHANGE, newer.pk) in page


def test_somebody_who_may_only_look_sees_the_page(
    staff_browser: Callable[..., Browser],
) -> None:
    row = Endpoint.objects.create(endpoint="mine", handler="handlers.echo")
    browser = staff_browser("view_endpoint")
    assert browser.get(url(Endpoint, CHANGE, row.pk)).status_code == 200
    assert browser.post(url(Endpoint, CHANGE, row.pk), {"handler": "x"}).status_code == 403
    assert browser.get(url(Endpoint, ADD)).status_code == 403
