"""A file's identity is its path below a root, whose name is the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from django.apps import apps
from pytest_django import Settings

from tests.descriptors.conftest import PACKAGE, Folder, told
from websockets_app.descriptors.kinds import CLIENTS, ENDPOINTS, is_source
from websockets_app.descriptors.roots import standard_roots
from websockets_app.descriptors.sync import sync
from websockets_app.exceptions import InvalidDescriptorPath
from websockets_app.models import Endpoint

pytestmark = pytest.mark.django_db


def names() -> dict[str, str]:
    """Return the file of each endpoint."""
    return {row.endpoint: row.file for row in Endpoint.objects.all()}


def test_a_package_of_handlers_is_a_root_by_its_dotted_name(folder: Folder) -> None:
    folder.endpoint("chat/room")
    sync()
    row = Endpoint.objects.get()
    assert (row.source_root, row.source) == (PACKAGE, "chat/room.websocket")


def test_a_package_inside_another_has_its_files_to_itself(
    folder: Folder, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": [PACKAGE, f"{PACKAGE}.inner"]}
    folder.write_bytes("inner/__init__.py", b"")
    folder.endpoint("inner/a")
    folder.endpoint("b")
    assert len(sync().lines) == 2
    assert names() == {"a": f"{PACKAGE}.inner/a.websocket", "b": f"{PACKAGE}/b.websocket"}


def test_an_app_s_folder_websockets_is_a_root(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(apps.get_app_config("channels"), "path", str(tmp_path / "app"))
    Folder(tmp_path / "app/websockets").endpoint("a")
    sync()
    assert names() == {"a": "channels:websockets/a.websocket"}


def test_packages_are_looked_up_without_being_imported(folder: Folder, settings: Settings) -> None:
    folder.write_bytes("inner/__init__.py", b"raise SystemExit")
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": [f"{PACKAGE}.inner"]}
    assert [root.name for root in standard_roots().standard] == [f"{PACKAGE}.inner"]
    assert f"{PACKAGE}.inner" not in sys.modules


def test_a_package_that_cannot_be_looked_up_is_told_and_hides_no_other(
    folder: Folder, settings: Settings
) -> None:
    folder.write_bytes("broken/__init__.py", b"raise SystemExit")
    packages = [f"{PACKAGE}.broken.inner", "not_there", PACKAGE]
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": packages}
    folder.endpoint("a", handler=f"{PACKAGE}.echo")
    assert told(sync()) == {
        f"HANDLER_PACKAGES: {PACKAGE}.broken.inner": "bad", f"{PACKAGE}/a.websocket": "new",
    }  # fmt: skip


def test_of_a_namespace_package_s_folders_the_first_wins(
    folder: Folder, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": [PACKAGE, "spread"]}
    for portion in ("one", "two"):
        monkeypatch.syspath_prepend(tmp_path / portion)
        Folder(tmp_path / portion / "spread").endpoint("a", endpoint=portion)
    Folder(tmp_path / "one/spread").endpoint("b")
    report = sync()
    assert [bad.text for bad in report.bad] == [
        f"{tmp_path}/two/spread/a.websocket comes before it"
    ]
    assert names() == {"two": "spread/a.websocket", "b": "spread/b.websocket"}
    assert not told(sync(), *report.verbs[:2])


def test_another_folder_goes_by_its_path_below_the_project(folder: Folder, tmp_path: Path) -> None:
    Folder(tmp_path / "conf/ws").endpoint("a")
    sync([tmp_path / "conf/ws"])
    assert names() == {"a": "./conf/ws/a.websocket"}


def test_a_folder_elsewhere_goes_by_its_absolute_path_and_the_link_to_it(
    folder: Folder, tmp_path: Path, settings: Settings
) -> None:
    settings.BASE_DIR = tmp_path / "project"
    Folder(tmp_path / "release1").endpoint("a")
    link = tmp_path / "current"
    link.symlink_to("release1")
    sync([link])
    assert names() == {"a": f"{link}/a.websocket"}
    Folder(tmp_path / "release2").endpoint("a")
    link.unlink()
    link.symlink_to("release2")
    assert not told(sync([link]))


def test_a_path_inside_a_standard_root_is_a_part_of_that(folder: Folder) -> None:
    folder.endpoint("chat/a")
    folder.endpoint("b")
    sync([folder.path / "chat"])
    assert names() == {"a": f"{PACKAGE}/chat/a.websocket"}
    assert told(sync()) == {f"{PACKAGE}/b.websocket": "new"}


def test_a_path_around_a_standard_root_leaves_its_files_to_it(
    folder: Folder, tmp_path: Path
) -> None:
    folder.endpoint("a")
    Folder(tmp_path / "conf").endpoint("b")
    sync([tmp_path])
    assert names() == {"a": f"{PACKAGE}/a.websocket", "b": "./conf/b.websocket"}


def test_paths_that_overlap_sync_no_file_twice_in_whatever_order(
    folder: Folder, tmp_path: Path
) -> None:
    conf = tmp_path / "conf"
    Folder(conf).endpoint("inner/a")
    for paths in ([conf / "inner", conf], [conf, conf / "inner", conf], [conf / "inner"], [conf]):
        report = sync(paths)
        assert len(report.lines) == 1
        assert not report.bad
    assert names() == {"a": "./conf/inner/a.websocket"}


def test_a_single_file_is_synced_and_never_prunes(folder: Folder, tmp_path: Path) -> None:
    folder.endpoint("a")
    folder.endpoint("b")
    sync()
    folder.remove("b.websocket")
    path = folder.endpoint("a", description="new")
    assert told(sync([path], prune=True)) == {f"{PACKAGE}/a.websocket": "changed"}
    assert Endpoint.objects.count() == 2


def test_a_path_that_does_not_exist_or_is_no_descriptor_is_an_error(
    folder: Folder, tmp_path: Path
) -> None:
    folder.endpoint("a")
    with pytest.raises(InvalidDescriptorPath, match=r"nowhere' doesn't exist"):
        sync([folder.path, tmp_path / "nowhere"])
    with pytest.raises(InvalidDescriptorPath, match=r"neither a folder nor a \*\.websocket or"):
        sync([folder.path / "echo.py"])
    assert not Endpoint.objects.exists()


def test_hidden_files_and_folders_and_other_files_are_left_alone(folder: Folder) -> None:
    folder.endpoint(".hidden/a")
    folder.write_bytes(".a.websocket", b"{}")
    folder.write_bytes("a.websocket.orig", b"{}")
    assert not sync().lines


def test_a_name_that_cannot_be_printed_is_told(folder: Folder) -> None:
    folder.write_bytes("a\nb.websocket", b"{}")
    folder.endpoint("good")
    report = sync()
    assert [bad.text for bad in report.bad] == ["its name holds what can't be printed; rename it"]
    assert r"a\nb" in report.bad[0].file


@pytest.mark.parametrize("source", ["a.websocket", "deep/er/a.websocket", "a..b/c d.websocket"])
def test_a_row_may_name_a_file_of_its_kind_below_its_root(source: str) -> None:
    assert is_source(ENDPOINTS, source)
    assert not is_source(CLIENTS, source)


@pytest.mark.parametrize(
    "source",
    ["", "a\0.websocket", "/a.websocket", "\\a.websocket", "C:/a.websocket", "a/../b.websocket"],
)
def test_a_row_may_name_no_other_file(source: str) -> None:
    assert not is_source(ENDPOINTS, source)
