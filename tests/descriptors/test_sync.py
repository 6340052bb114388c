"""Rows become what their files say; what people own stays theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.descriptors.conftest import PACKAGE, Folder, reason, told
from websockets_app.descriptors.finding import find
from websockets_app.descriptors.sync import sync
from websockets_app.models import Client, Endpoint
from websockets_app.signals import descriptors_changed

pytestmark = pytest.mark.django_db


def file(name: str) -> str:
    return f"{PACKAGE}/{name}.websocket"


def rows() -> dict[str, str]:
    """Return the file of each endpoint, without the root and the suffix."""
    return {row.endpoint: Path(row.source).stem for row in Endpoint.objects.all()}


def text_of(file: str) -> str:
    [line] = [line for line in sync().lines if line.file == file]
    return line.text


# New, changed, unchanged


def test_the_seed_s_file_makes_an_endpoint_for_logged_in_users(folder: Folder) -> None:
    folder.write_bytes("ws_handler.py", b"def on_open(): pass")
    content = b"""{
  "handler": "described/ws-handler.js",
  "endpoint":"my-endpoint",
  "description":"My Websocket"
}
"""
    folder.write_bytes("my-endpoint.websocket", content)
    assert [str(line) for line in sync().lines] == [
        f"new: {file('my-endpoint')}: endpoint my-endpoint"
    ]
    row = Endpoint.objects.get()
    assert (row.handler, row.endpoint, row.description, row.access, row.enabled) == (
        "described.ws_handler", "my-endpoint", "My Websocket", "authenticated", True,
    )  # fmt: skip


def test_a_file_makes_a_client_named_after_it(folder: Folder) -> None:
    folder.client("ticker", headers={"X": "1"}, ping_interval=3)
    sync()
    row = Client.objects.get()
    assert (row.name, row.desired, row.headers, row.ping_interval) == (
        "ticker", "run", {"X": "1"}, 3,
    )  # fmt: skip


def test_a_client_may_be_named_otherwise_than_its_file(folder: Folder) -> None:
    folder.client("ticker", name="clock")
    sync()
    assert Client.objects.get().name == "clock"


def test_what_changed_is_named_and_nothing_else_is_written(folder: Folder) -> None:
    folder.endpoint("a", description="old", access="public")
    sync()
    Endpoint.objects.update(updated_at="2020-01-01T00:00Z")
    folder.endpoint("a", description="new", handler="other", access="public")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert text_of(file("a")) == "endpoint a: handler, description"
    [update] = [query["sql"] for query in captured if query["sql"].startswith("UPDATE")]
    assert "access" not in update
    assert Endpoint.objects.get().handler == "described.other"


def test_a_key_that_leaves_the_file_falls_back_to_its_default(folder: Folder) -> None:
    folder.endpoint("a", access="public")
    sync()
    folder.endpoint("a")
    assert text_of(file("a")) == "endpoint a: access"
    assert Endpoint.objects.get().access == "authenticated"


def test_groups_go_by_their_names(folder: Folder) -> None:
    for name in ("b", "a", "c"):
        Group.objects.create(name=name)
    folder.endpoint("a", groups=["b", "a", "b"])
    sync()
    row = Endpoint.objects.served().get()
    assert sorted(group.name for group in row.groups.all()) == ["a", "b"]
    assert not told(sync())
    folder.endpoint("a", groups=["c"])
    assert text_of(file("a")) == "endpoint a: groups"
    assert [group.name for group in Endpoint.objects.served().get().groups.all()] == ["c"]
    assert Endpoint.objects.get().revision != row.revision


def test_what_is_unchanged_costs_a_few_reads_and_no_write(folder: Folder) -> None:
    Group.objects.create(name="g")
    for number in range(10):
        folder.endpoint(f"e{number}", groups=["g"])
        folder.client(f"c{number}")
    sync()
    before = [list(model.objects.order_by("pk").values()) for model in (Endpoint, Client)]
    with CaptureQueriesContext(connection) as captured:
        assert not told(sync())
    assert all(query["sql"].startswith("SELECT") for query in captured)
    assert len(captured) == 4  # groups, endpoints, their groups, clients
    assert before == [list(model.objects.order_by("pk").values()) for model in (Endpoint, Client)]


def test_a_dry_run_says_the_same_and_writes_nothing(folder: Folder) -> None:
    for name in ("changed", "gone", "swapped", "with", "kept"):
        folder.endpoint(name)
    sync()
    folder.endpoint("changed", description="new")
    folder.endpoint("swapped", endpoint="with")
    folder.endpoint("with", endpoint="swapped")
    folder.endpoint("new")
    folder.endpoint("twin", endpoint="kept")
    folder.remove("gone.websocket")
    with CaptureQueriesContext(connection) as captured:
        dry = sync(prune=True, dry_run=True)
    assert all(query["sql"].startswith("SELECT") for query in captured)
    wet = sync(prune=True)
    assert dry.files == wet.files
    assert dry.summary == wet.summary == (
        "1 new, 3 changed, 1 unchanged, 0 gone, 1 deleted, 1 bad."
    )  # fmt: skip


# Operators' switches


def test_operators_switches_stay_as_they_were_turned(folder: Folder) -> None:
    folder.endpoint("a")
    folder.client("c")
    sync()
    Endpoint.objects.all().disable()
    Client.objects.all().stop()
    assert not told(sync())
    folder.endpoint("a", description="new")
    sync()
    assert not Endpoint.objects.get().enabled
    assert Client.objects.get().desired == "stop"


def test_a_file_that_mentions_a_switch_rules_it(folder: Folder) -> None:
    folder.endpoint("a", enabled=True)
    folder.client("c", desired="stop")
    sync()
    assert Client.objects.get().desired == "stop"
    Endpoint.objects.all().disable()
    Client.objects.all().run()
    sync()
    assert Endpoint.objects.get().enabled
    assert Client.objects.get().desired == "stop"


# Gone


def test_a_row_whose_file_is_gone_is_named_and_deleted_only_if_asked(folder: Folder) -> None:
    folder.endpoint("a")
    sync()
    folder.remove("a.websocket")
    [line] = sync().lines
    assert str(line) == f"gone: {file('a')}: endpoint a stays; --prune deletes it"
    assert Endpoint.objects.exists()
    [line] = sync(prune=True).lines
    assert str(line) == f"deleted: {file('a')}: endpoint a"
    assert not Endpoint.objects.exists()
    assert not sync(prune=True).lines


def test_pruning_reaches_no_further_than_the_paths_given(folder: Folder, tmp_path: Path) -> None:
    conf = Folder(tmp_path / "conf")
    for name in ("chat/a", "b"):
        folder.endpoint(name)
    conf.endpoint("c")
    sync([folder.path, conf.path])
    folder.remove("chat/a.websocket")
    folder.remove("b.websocket")
    conf.remove("c.websocket")
    assert told(sync([folder.path / "chat"], prune=True)) == {
        f"{PACKAGE}/chat/a.websocket": "deleted"
    }
    assert told(sync(prune=True)) == {file("b"): "deleted"}
    assert told(sync([conf.path], prune=True)) == {"./conf/c.websocket": "deleted"}


def test_rows_that_people_made_are_never_touched(folder: Folder) -> None:
    row = Endpoint.objects.create(endpoint="a", handler="described.echo")
    folder.endpoint("a", description="from a file")
    assert reason().startswith("the endpoint 'a' has a row that no file owns")
    folder.remove("a.websocket")
    assert not sync(prune=True).lines
    row.refresh_from_db()
    assert row.description == row.source == ""


def test_a_bad_file_keeps_its_row_and_is_not_gone(folder: Folder) -> None:
    folder.endpoint("a", description="good")
    folder.endpoint("b")
    sync()
    folder.write_bytes("a.websocket", b"{")
    folder.endpoint("b", description="new")
    assert told(sync(prune=True)) == {file("a"): "bad", file("b"): "changed"}
    assert Endpoint.objects.get(endpoint="a").description == "good"


def test_rows_below_a_folder_that_could_not_be_listed_are_not_gone(folder: Folder) -> None:
    folder.endpoint("inner/a")
    sync()
    folder.remove("inner/a.websocket")
    row = Endpoint.objects.get()
    found = find()
    assert found.is_gone(row)
    assert found.has_left(row)
    # As root, who may run the tests, one can list every folder.
    found.unlisted.append(folder.path / "inner")
    assert not found.is_gone(row)
    assert not found.has_left(row)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_told(folder: Folder) -> None:
    folder.endpoint("inner/a")
    sync()
    (folder.path / "inner").chmod(0)
    [line] = sync(prune=True).lines
    assert line.text == "the folder can't be listed: Permission denied"
    assert Endpoint.objects.exists()


# One name, two files


def test_of_two_files_with_one_endpoint_the_first_in_order_wins(folder: Folder) -> None:
    folder.endpoint("b", endpoint="x")
    folder.endpoint("a", endpoint="x")
    report = sync()
    assert told(report) == {file("a"): "new", file("b"): "bad"}
    assert report.bad[0].text == f"the endpoint 'x' belongs to {file('a')}"


SAME = "/websockets/v4/service/x"


def test_of_two_files_with_one_url_the_first_in_order_wins(folder: Folder) -> None:
    folder.endpoint("a", endpoint="x")
    folder.endpoint("b", endpoint=SAME)
    report = sync()
    assert told(report) == {file("a"): "new", file("b"): "bad"}
    [bad] = report.bad
    assert bad.text == (
        f"the endpoint '{SAME}' has the same URL as 'x', which belongs to {file('a')}"
    )


def test_a_file_does_not_get_the_url_of_a_row_that_people_made(folder: Folder) -> None:
    Endpoint.objects.create(endpoint="x", handler="described.echo")
    folder.endpoint("a", endpoint=SAME)
    assert reason().startswith(f"the endpoint '{SAME}' has the same URL as 'x', which has a row")
    assert rows() == {"x": ""}


def test_a_file_may_write_its_url_differently(folder: Folder) -> None:
    folder.endpoint("a", endpoint="x")
    sync()
    key = Endpoint.objects.get().pk
    folder.endpoint("a", endpoint=SAME)
    assert told(sync()) == {file("a"): "changed"}
    folder.remove("a.websocket")
    folder.endpoint("b", endpoint="x")
    assert told(sync()) == {file("b"): "changed"}
    assert Endpoint.objects.get().pk == key
    assert rows() == {"x": "b"}


def test_of_two_rows_with_one_url_the_older_follows_its_file_and_the_newer_does_not(
    folder: Folder,
) -> None:
    folder.endpoint("a", endpoint="/y/x")
    folder.endpoint("b", endpoint="/z/x")
    sync()
    Endpoint.objects.filter(endpoint="/y/x").update(endpoint="x")  # as a changed PREFIX would
    Endpoint.objects.filter(endpoint="/z/x").update(endpoint=SAME)
    for older, newer in (("a", "b"), ("b", "a")):
        folder.endpoint("a", endpoint="x", description=f"{older} is older")
        folder.endpoint("b", endpoint=SAME, description=f"{older} is older")
        assert told(sync()) == {file(older): "changed", file(newer): "bad"}
        row = Endpoint.objects.get(source__endswith=f"{older}.websocket")
        assert row.description == f"{older} is older"
        # Recreated, the row is the newer one.
        values = Endpoint.objects.filter(pk=row.pk).values().get()
        row.delete()
        Endpoint.objects.create(**{**values, "id": None})


def test_the_file_that_owns_a_row_keeps_it_from_one_that_comes_before(folder: Folder) -> None:
    folder.endpoint("b", endpoint="x")
    sync()
    folder.endpoint("a", endpoint="x", description="thief")
    assert told(sync()) == {file("a"): "bad"}
    assert Endpoint.objects.get().description == ""


def test_a_bad_file_keeps_its_name_too(folder: Folder) -> None:
    folder.endpoint("b", endpoint="x")
    sync()
    folder.write_bytes("b.websocket", b"{")
    folder.endpoint("a", endpoint="x")
    assert told(sync()) == {file("a"): "bad", file("b"): "bad"}
    assert rows() == {"x": "b"}


def test_a_file_that_loses_leaves_its_old_name_in_the_way_of_others(folder: Folder) -> None:
    for name in ("a", "b", "c"):
        folder.endpoint(name)
    sync()
    Endpoint.objects.create(endpoint="taken", handler="described.echo")
    folder.endpoint("a", endpoint="taken")
    folder.endpoint("b", endpoint="a")
    folder.endpoint("c", endpoint="b")
    report = sync()
    assert {bad.file: bad.text.partition(" belongs")[2] for bad in report.bad} == {
        file("a"): "", file("b"): f" to {file('a')}", file("c"): f" to {file('b')}",
    }  # fmt: skip
    assert rows() == {"a": "a", "b": "b", "c": "c", "taken": ""}


def test_a_renamed_file_takes_its_row_along(folder: Folder) -> None:
    folder.endpoint("old", endpoint="x")
    sync()
    key = Endpoint.objects.get().pk
    folder.remove("old.websocket")
    folder.endpoint("new", endpoint="x", description="new")
    assert text_of(file("new")) == f"endpoint x: file (it was {file('old')}), description"
    row = Endpoint.objects.get()
    assert (row.pk, row.source) == (key, "new.websocket")


def test_files_whose_root_has_moved_take_their_rows_along(folder: Folder, tmp_path: Path) -> None:
    conf = Folder(tmp_path / "conf")
    conf.endpoint("a")
    sync([conf.path])
    Endpoint.objects.update(source_root="a_package_that_has_left")
    assert told(sync([conf.path], prune=True)) == {"./conf/a.websocket": "changed"}
    conf.path.rename(tmp_path / "elsewhere")
    assert told(sync([tmp_path / "elsewhere"], prune=True)) == {
        "./elsewhere/a.websocket": "changed"
    }


def test_a_name_that_a_gone_file_still_has_is_free_once_pruned(folder: Folder) -> None:
    folder.endpoint("a")
    folder.endpoint("b")
    sync()
    folder.remove("b.websocket")
    folder.endpoint("a", endpoint="b")
    report = sync()
    assert told(report) == {file("a"): "bad", file("b"): "gone"}
    assert report.bad[0].text.endswith("which is gone; --prune deletes it")
    assert told(sync(prune=True)) == {file("a"): "changed", file("b"): "deleted"}
    assert rows() == {"b": "a"}


def test_two_files_may_exchange_their_endpoints(folder: Folder) -> None:
    folder.endpoint("a")
    folder.endpoint("b")
    sync()
    keys = dict(Endpoint.objects.values_list("source", "pk"))
    folder.endpoint("a", endpoint="b")
    folder.endpoint("b", endpoint="a")
    assert told(sync()) == {file("a"): "changed", file("b"): "changed"}
    assert rows() == {"a": "b", "b": "a"}
    assert dict(Endpoint.objects.values_list("source", "pk")) == keys


NAMES = st.lists(st.sampled_from("uvwxyz"), min_size=6, max_size=6)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=NAMES, after=NAMES)
def test_names_may_move_between_files_in_every_way(
    folder: Folder, before: list[str], after: list[str]
) -> None:
    Endpoint.objects.all().delete()
    for names in (before, after):
        owned = {row.source: row.pk for row in Endpoint.objects.all()}
        for stem, name in zip("abcdef", names, strict=True):
            folder.endpoint(stem, endpoint=name)
        bad = {Path(line.file).stem for line in sync().bad}
        wanted = {
            stem: name for stem, name in zip("abcdef", names, strict=True) if stem not in bad
        }
        held = {stem: name for name, stem in rows().items()}
        assert wanted.items() <= held.items()
        assert set(held) <= set(wanted) | {Path(source).stem for source in owned}
        assert owned.items() <= {row.source: row.pk for row in Endpoint.objects.all()}.items()
    assert {line.verb for line in sync().lines} <= {"unchanged", "bad"}


# Others at the same time


@pytest.mark.django_db(transaction=True)
def test_whoever_syncs_at_the_same_time_does_no_harm(folder: Folder) -> None:
    for name in ("a", "b", "c"):
        folder.endpoint(name)
    nested: list[Callable[[], Any]] = [sync]

    def other(**kwargs: Any) -> None:
        while nested:
            nested.pop()()

    descriptors_changed.connect(other)  # after the first row is there, another makes them all
    try:
        report = sync()
    finally:
        descriptors_changed.disconnect(other)
    assert not report.bad
    assert rows() == {"a": "a", "b": "b", "c": "c"}


# Many


def test_two_hundred_files_of_which_five_are_bad_synced_three_times(folder: Folder) -> None:
    for number in range(150):
        folder.endpoint(f"{number % 7}/e{number:03}")
    for number in range(50):
        folder.client(f"c{number:02}")
    folder.write_bytes("0/e000.websocket", b'{"handler": "echo",}')
    folder.endpoint("1/e001", handler="os.path")
    folder.endpoint("2/e002", endpont="x")
    folder.endpoint("3/e003", endpoint="e010")  # of 3/e010, which comes after it
    folder.client("c00", uri="http://example.com/")

    first = sync()
    assert first.summary == "195 new, 0 changed, 0 unchanged, 0 gone, 0 deleted, 5 bad."
    bad = {line.file.removeprefix(f"{PACKAGE}/"): line.text for line in first.bad}
    assert bad["0/e000.websocket"].startswith("line 1, column ")
    assert "c00.websocket-client" in bad

    revisions = {model: model.objects.revisions() for model in (Endpoint, Client)}
    with CaptureQueriesContext(connection) as captured:
        second = sync()
    assert second.summary == "0 new, 0 changed, 195 unchanged, 0 gone, 0 deleted, 5 bad."
    assert all(query["sql"].startswith("SELECT") for query in captured)
    assert {model: model.objects.revisions() for model in (Endpoint, Client)} == revisions

    for number in range(100, 110):
        folder.endpoint(f"{number % 7}/e{number}", description="new")
    for number in range(40, 50):
        folder.remove(f"c{number}.websocket-client")
    folder.endpoint("0/e000")
    third = sync(prune=True)
    assert third.summary == "1 new, 10 changed, 175 unchanged, 0 gone, 10 deleted, 4 bad."
    assert Endpoint.objects.count() == 147
    assert Client.objects.count() == 39
