"""What is no good file is refused, with a reason that helps to mend it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.descriptors.conftest import Folder, reason
from websockets_app.descriptors import files
from websockets_app.descriptors.sync import sync
from websockets_app.models import Client, Endpoint

pytestmark = pytest.mark.django_db

CONTENTS = {
    "nothing": (b"", "line 1, column 1: no JSON: Expecting value"),
    "a_missing_comma": (b'{\n  "endpoint": "a"\n  "handler": "b"\n}', "line 3, column 3: no JSON"),
    "a_list": (b"[1]", "it must hold one JSON object"),
    "latin_1": (b'{"description": "\xe9"}', "byte 17 is no UTF-8"),
    "a_byte_order_mark": (b"\xef\xbb\xbf{}", "it begins with a byte order mark"),
    "a_key_twice": (b'{"engine": "a", "engine": "b"}', "the key 'engine' stands there twice"),
    "a_constant_of_javascript": (b'{"endpoint": NaN}', "NaN is no JSON"),
    "too_much_depth": (b"[" * 100_000, "it is nested too deeply"),
    "too_many_digits": (b'{"inbox_bytes": ' + b"9" * 5000 + b"}", "no JSON that can be read"),
    "too_much": (b'{"description": "' + b"x" * files.MAX_BYTES, "it is larger than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_holds_this_is_bad(folder: Folder, content: bytes, expected: str) -> None:
    folder.write_bytes("bad.websocket", content)
    assert reason().startswith(expected)
    assert not Endpoint.objects.exists()


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "an_unknown_one": ({"hander": "x"}, "unknown key 'hander'; the keys are endpoint, handler,"),
    "one_that_people_may_not_edit": ({"revision": 1}, "unknown key 'revision'"),
    "a_string_for_true": ({"enabled": "true"}, 'enabled: write true or false, not "true"'),
    "a_number_for_true": ({"enabled": 1}, "enabled: write true or false, not 1"),
    "true_for_a_number": ({"inbox_bytes": True}, "inbox_bytes: write a whole number, not true"),
    "a_float_for_a_whole_number": ({"inbox_bytes": 1.5}, "inbox_bytes: write a whole number"),
    "a_number_out_of_range": ({"inbox_bytes": 0}, "inbox_bytes: Ensure this value is greater"),
    "a_number_that_no_database_has": ({"inbox_bytes": 10**30}, "inbox_bytes: Ensure this value"),
    "null": ({"description": None}, "description: write a string, not null"),
    "a_string_for_a_list": ({"origins": "*"}, 'origins: write a list, not "*"'),
    "a_list_of_numbers": ({"origins": [1]}, "origins: Write a JSON list of strings."),
    "a_list_in_a_list": ({"origins": [[["x"]]]}, "origins: Write a JSON list of strings."),
    "a_group_by_number": ({"groups": [1]}, "groups: write a list of names, not a list"),
    "a_group_that_is_not_there": ({"groups": ["x"]}, "groups: no group 'x'"),
    "a_choice_that_is_none": ({"access": "all"}, "access: Value 'all' is not a valid choice. It "
                              "may be public, authenticated, staff."),
    "a_permission_without_its_app": ({"permission": "x"}, "permission: Write it as"),
    "nul": ({"description": "\0"}, "description: it holds a character that no database keeps"),
    "half_a_pair": ({"description": "\ud800"}, "description: it holds a character that no"),
    "an_unknown_engine": ({"engine": "perl"}, "engine: No engine 'perl'"),
    "a_handler_that_is_not_there": ({"handler": "nothing"}, "handler: No handler 'nothing'"),
    "a_handler_that_is_not_allowed": ({"handler": "../os"}, "handler: '../os' is no handler"),
    "an_impossible_path": ({"endpoint": "a?b"}, "endpoint: This is no path that can be served"),
    "no_path": ({"endpoint": ""}, "endpoint: This field cannot be blank."),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "expected"), KEYS.values(), ids=KEYS)
def test_an_endpoint_with_this_key_is_bad(
    folder: Folder, keys: dict[str, Any], expected: str
) -> None:
    folder.endpoint("bad", **keys)
    assert reason().startswith(expected)
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"uri": "https://example.com"}, "uri: Write wss:// instead of https://."),
        ({"headers": {"X": 1}}, "headers: Write a JSON object of strings."),
        ({"headers": []}, "headers: write an object, not a list"),
        ({"ping_interval": "20"}, 'ping_interval: write a number, not "20"'),
        ({"message_ttl": "x"}, 'message_ttl: write a number or null, not "x"'),
        ({"ping_timeout": float("inf")}, "Infinity is no JSON"),
        ({"ephemeral": True}, "unknown key 'ephemeral'"),
    ],
)
def test_a_client_with_this_key_is_bad(
    folder: Folder, keys: dict[str, Any], expected: str
) -> None:
    folder.client("bad", **keys)
    assert reason().startswith(expected)
    assert not Client.objects.exists()


def test_all_that_is_wrong_is_told_at_once(folder: Folder) -> None:
    folder.endpoint("bad", enabled="yes", access=3)
    assert reason() == 'enabled: write true or false, not "yes"; access: write a string, not 3'


def test_required_keys_are_named(folder: Folder) -> None:
    folder.write("bad.websocket", {"description": "x"})
    assert reason() == "the key 'endpoint', 'handler' is missing"


def test_a_number_may_be_written_without_a_point_and_null_where_there_is_none(
    folder: Folder,
) -> None:
    folder.client("good", ping_interval=5, message_ttl=None)
    assert not sync().bad
    assert Client.objects.get().ping_interval == 5


def test_a_pipe_is_no_file_to_wait_for(folder: Folder) -> None:
    os.mkfifo(folder.path / "pipe.websocket")
    assert reason() == "it is no regular file"


def test_a_link_that_leads_nowhere_is_told(folder: Folder) -> None:
    (folder.path / "link.websocket").symlink_to("nowhere.websocket")
    assert reason() == "it can't be read: No such file or directory"


def test_a_replaced_file_keeps_its_mode_and_the_link_that_leads_to_it(tmp_path: Path) -> None:
    target, link = tmp_path / "a", tmp_path / "b"
    target.touch(mode=0o640)
    link.symlink_to(target)
    files.replace(link, "text\n")
    assert link.is_symlink()
    assert target.read_text() == "text\n"
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [target, link]


def test_a_file_that_reads_a_variable_which_is_not_allowed_becomes_no_row(
    folder: Folder,
) -> None:
    folder.client("feed", uri="ws://example.com/?k=env:DJANGO_SECRET_KEY")
    assert "WEBSOCKETS['CLIENT_ENVIRONMENT'] doesn't allow env:DJANGO_SECRET_KEY" in reason()
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("../outside.websocket", "it is a link that leads out of its root"),
        ("../link-to-outside.websocket", "it is a link that leads out of its root"),
        ("echo.py", "it is a link to a file that isn't a *.websocket"),
        ("link.websocket", "it is a link that leads nowhere"),
    ],
)
def test_a_link_out_of_the_root_or_to_another_file_is_not_read(
    folder: Folder, link: str, problem: str
) -> None:
    outside = Folder(folder.path.parent)
    target = outside.endpoint("outside")
    (outside.path / "link-to-outside.websocket").symlink_to(target)
    (folder.path / "link.websocket").symlink_to(link)
    assert reason() == problem
    assert not Endpoint.objects.exists()


def test_a_link_inside_the_root_is_read(folder: Folder) -> None:
    folder.endpoint(".data/a")  # as Kubernetes mounts a ConfigMap
    (folder.path / "a.websocket").symlink_to(".data/a.websocket")
    assert not sync().bad
    assert Endpoint.objects.get().source == "a.websocket"
