"""What is exported comes back as it was, and holds no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.descriptors.conftest import PACKAGE, Folder, told
from websockets_app.core.states import Access, OnChange, OnHandlerError
from websockets_app.descriptors.export import Options, write_back, write_into
from websockets_app.descriptors.kinds import CLIENTS, ENDPOINTS
from websockets_app.descriptors.report import Report, Verb
from websockets_app.descriptors.sync import sync
from websockets_app.models import Client, Endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def out(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out")


def back(**options: bool) -> Report:
    return write_back({}, Options(**options))


def into(folder: Folder, **options: bool) -> Report:
    return write_into(folder.path, {}, Options(**options))


def endpoint(name: str, **fields: Any) -> Endpoint:
    return Endpoint.objects.create(endpoint=name, handler="described.echo", **fields)


def client(name: str = "c", uri: str = "ws://example.com/", **fields: Any) -> Client:
    return Client.objects.create(name=name, uri=uri, handler="described.echo", **fields)


# Back into the files that own rows


def test_a_file_that_says_the_same_is_left_as_it_is_written(folder: Folder) -> None:
    path = folder.write_bytes(
        "a.websocket", b'{"handler":"described/echo.js",   "endpoint":"a", "engine": "python"}'
    )
    sync()
    Endpoint.objects.all().disable()  # a switch that the file doesn't mention
    before = path.read_bytes()
    assert not told(back())
    assert path.read_bytes() == before


def test_an_edited_row_changes_its_keys_alone_in_the_file(folder: Folder) -> None:
    group = Group.objects.create(name="g")
    given = {"description": "old", "handler": "echo.js", "access": "public", "endpoint": "a"}
    path = folder.write("a.websocket", given)
    sync()
    row = Endpoint.objects.get()
    Endpoint.objects.update(description="né", access="authenticated", inbox_bytes=5)
    row.groups.set([group])
    assert told(back()) == {f"{PACKAGE}/a.websocket": "written"}
    assert path.read_text(encoding="utf-8") == (
        "{\n"
        '  "description": "né",\n'
        '  "handler": "echo.js",\n'
        '  "access": "authenticated",\n'
        '  "endpoint": "a",\n'
        '  "inbox_bytes": 5,\n'
        '  "groups": [\n    "g"\n  ]\n'
        "}\n"
    )
    assert not told(sync())
    assert not told(back())


def test_rows_that_people_own_are_not_written_back(folder: Folder) -> None:
    endpoint("mine")
    assert not back().lines


def test_a_file_that_is_gone_or_bad_is_written_only_by_force(folder: Folder) -> None:
    folder.endpoint("a")
    folder.endpoint("b")
    sync()
    folder.remove("a.websocket")
    folder.write_bytes("b.websocket", b"{")
    assert told(back()) == {f"{PACKAGE}/a.websocket": "gone", f"{PACKAGE}/b.websocket": "bad"}
    assert set(told(back(force=True)).values()) == {"written"}
    assert folder.read("a.websocket") == {"endpoint": "a", "handler": "described.echo"}
    assert not told(sync())


# Into a folder


def test_only_what_differs_from_the_defaults_is_written(folder: Folder, out: Folder) -> None:
    endpoint("a", access="public", origins=["*"])
    client("c", ping_interval=0, desired="stop")
    client("other name!", ephemeral=False)
    client("short-lived", ephemeral=True)
    into(out)
    assert sorted(path.name for path in out.path.iterdir()) == [
        "a.websocket", "c.websocket-client", "other-name.websocket-client",
    ]  # fmt: skip
    assert list(out.read("a.websocket").items()) == [
        ("endpoint", "a"), ("handler", "described.echo"), ("access", "public"), ("origins", ["*"]),
    ]  # fmt: skip
    assert out.read("c.websocket-client") == {
        "uri": "ws://example.com/", "handler": "described.echo", "desired": "stop",
        "ping_interval": 0,
    }  # fmt: skip
    assert out.read("other-name.websocket-client")["name"] == "other name!"


def test_files_are_named_after_endpoints_and_apart_from_each_other(
    folder: Folder, out: Folder
) -> None:
    folder.endpoint("deep/d", endpoint="x")
    sync()
    for name in ("a/b", "a-b", "A-B", "chat/<slug:room>/<int:n>", "/äh", "/<str:type>", "-"):
        endpoint(name)
    report = into(out)
    names = sorted(line.file.removeprefix("./out/") for line in report.lines)
    apart = [name for name in names if re.fullmatch(r"a-b-[0-9a-f]{8}\.websocket", name)]
    assert len(apart) == 2
    assert names == [
        "A-B.websocket", *apart, "chat-room-n.websocket", "deep/d.websocket", "endpoint.websocket",
        "type.websocket", "äh.websocket",
    ]  # fmt: skip
    assert len(into(out).of(report.verbs[1])) == len(names)


def test_a_copy_says_how_a_switch_was_turned_and_a_row_s_own_file_need_not(
    folder: Folder, out: Folder
) -> None:
    endpoint("a")
    folder.endpoint("b")
    sync()
    into(out)
    Endpoint.objects.all().disable()
    assert told(into(out)) == {"./out/a.websocket": "bad", "./out/b.websocket": "bad"}
    into(out, force=True)
    assert not out.read("a.websocket")["enabled"]
    assert not told(into(folder), Verb.BAD)
    assert "enabled" not in folder.read("b.websocket")


def test_only_what_was_asked_for_is_written(folder: Folder, out: Folder) -> None:
    endpoint("a")
    endpoint("b")
    client("a")
    report = write_into(out.path, {ENDPOINTS: ["b"], CLIENTS: []}, Options())
    assert told(report) == {"./out/b.websocket": "written"}


def test_a_file_that_says_something_else_is_replaced_only_by_force(
    folder: Folder, out: Folder
) -> None:
    endpoint("a")
    path = out.write("a.websocket", {"endpoint": "a", "handler": "other"})
    out.write_bytes("b.websocket", b"mine")
    endpoint("b")
    before = path.read_bytes()
    assert told(into(out)) == {"./out/a.websocket": "bad", "./out/b.websocket": "bad"}
    assert path.read_bytes() == before
    assert set(told(into(out, force=True)).values()) == {"written"}
    assert out.read("a.websocket")["handler"] == "described.echo"
    assert not told(into(out))


def test_a_dry_run_writes_nothing(folder: Folder, out: Folder) -> None:
    endpoint("a")
    assert told(into(out, dry_run=True, own=True)) == {"./out/a.websocket": "written"}
    assert not list(out.path.iterdir())
    assert not Endpoint.objects.get().source


def test_what_cannot_be_written_is_told_and_the_others_are(folder: Folder, out: Folder) -> None:
    endpoint("a")
    client("c")
    out.path.joinpath("a.websocket").mkdir()
    assert told(into(out, force=True)) == {
        "./out/a.websocket": "bad", "./out/c.websocket-client": "written",
    }  # fmt: skip


def test_rows_can_be_handed_over_to_the_files(folder: Folder, out: Folder) -> None:
    folder.endpoint("a")
    sync()
    endpoint("b")
    client("c")
    into(out, own=True)
    assert {row.file for row in Endpoint.objects.all()} == {
        "./out/a.websocket",
        "./out/b.websocket",
    }
    report = sync([out.path], prune=True)
    assert not told(report)
    assert len(report.lines) == 3


def test_rows_handed_over_to_a_standard_root_are_found_by_a_plain_sync(folder: Folder) -> None:
    endpoint("a")
    into(folder, own=True)
    assert Endpoint.objects.get().file == f"{PACKAGE}/a.websocket"
    assert not told(sync(prune=True))


def test_a_row_is_not_written_over_the_file_of_another(folder: Folder) -> None:
    folder.endpoint("a", endpoint="x")
    sync()
    endpoint("a")
    into(folder, own=True, force=True)
    assert folder.read("a.websocket")["endpoint"] == "x"
    assert Endpoint.objects.get(endpoint="a").source.startswith("a-")
    assert not told(sync())


# Files that no row may name

OUTSIDE = [
    "../settings.py", "../settings.websocket", "/{tmp}/settings.py", "/{tmp}/settings.websocket",
    "echo.py", "sub/../../settings.websocket", "..", ".", "settings.websocket/..",
    "..\\settings.websocket", "C:settings.websocket", "a\n.websocket",
    "a.websocket-client", ".websocket",
]  # fmt: skip


def files_below(path: Path) -> dict[str, bytes]:
    return {str(found): found.read_bytes() for found in path.rglob("*") if found.is_file()}


@pytest.mark.parametrize("source", OUTSIDE)
@pytest.mark.parametrize("root", [PACKAGE, "./described", "{tmp}/described"])
def test_a_row_can_name_no_file_but_one_of_its_kind_below_its_root(
    folder: Folder, out: Folder, tmp_path: Path, root: str, source: str
) -> None:
    Folder(tmp_path).write_bytes("settings.py", b"DEBUG = False\n")
    Folder(tmp_path).endpoint("settings")
    inside = str(tmp_path).lstrip("/")
    endpoint("evil", source_root=root.format(tmp=tmp_path), source=source.format(tmp=inside))
    before = files_below(tmp_path)
    (bad,) = back(force=True).bad
    assert "its file has to be a *.websocket below its root" in bad.text
    assert files_below(tmp_path) == before
    assert not sync(prune=True).bad
    assert Endpoint.objects.filter(endpoint="evil").exists()
    into(out, force=True)
    assert files_below(tmp_path).keys() - before.keys() == {str(out.path / "evil.websocket")}
    assert before.items() <= files_below(tmp_path).items()


@pytest.mark.parametrize("root", ["./../elsewhere", "./described/../../elsewhere", "{tmp}/../x"])
def test_a_root_cannot_lead_out_of_the_project(folder: Folder, tmp_path: Path, root: str) -> None:
    endpoint("evil", source_root=root.format(tmp=tmp_path), source="evil.websocket")
    before = files_below(tmp_path.parent)
    assert told(back(force=True)).popitem()[1] == "gone"
    assert files_below(tmp_path.parent) == before


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_that_leads_out_of_the_root_is_not_written_through(
    folder: Folder, out: Folder, tmp_path: Path, exists: bool
) -> None:
    outside = tmp_path / "outside.websocket"
    if exists:
        outside.write_text("mine")
    for path in (folder.path, out.path):
        (path / "a.websocket").symlink_to(outside)
    endpoint("a", source_root=PACKAGE, source="a.websocket")
    for report in (back(force=True), into(out, force=True)):
        assert [line.text for line in report.bad] == ["it is a link that leads out of its root"]
    assert outside.exists() is exists
    assert not exists or outside.read_text() == "mine"


def test_a_link_to_a_handler_is_not_written_through(folder: Folder) -> None:
    (folder.path / "a.websocket").symlink_to("echo.py")
    endpoint("a", source_root=PACKAGE, source="a.websocket")
    before = files_below(folder.path)
    assert set(told(back(force=True)).values()) == {"bad"}
    assert files_below(folder.path) == before


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_two_rows_do_not_write_to_one_file(folder: Folder, link: Any) -> None:
    path = folder.endpoint("a", description="as it was")
    link(folder.path / "A.websocket", path)  # what a file system that ignores case shows
    for name in ("a", "A"):
        endpoint(name, source_root=PACKAGE, source=f"{name}.websocket", description="new")
    report = back(force=True)
    assert [line.text for line in report.bad] == [
        "it is one file for several rows: endpoint A, endpoint a"
    ] * 2
    assert folder.read("a.websocket")["description"] == "as it was"


def test_names_that_differ_in_how_an_accent_is_written_make_two_files(
    folder: Folder, out: Folder
) -> None:
    for number, name in enumerate(("caf\u00e9", "cafe\u0301")):
        source = f"{name}.websocket-client"
        client(f"c{number}", source_root="not.here", source=source)
    into(out)
    assert len({path.name.casefold() for path in out.path.iterdir()}) == 2
    assert any(re.search(r"-[0-9a-f]{8}\.", path.name) for path in out.path.iterdir())


# Secrets


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "wss://user:secret@example.com/"},
        {"uri": "wss://env:USER:secret@example.com/"},
        {"uri": "wss://example.com/?token=secret"},
        {"uri": "wss://example.com/?secret"},
        {"uri": "wss://example.com/?a=env:A&token=env:T-secret"},
        {"uri": "wss://[example.com/"},
        {"uri": "ws://user:pa/secret@host/"},
        {"uri": "ws://user:1/secret@host/"},
        {"uri": "ws://user:1?secret@host/"},
        {"proxy": "http://user:1/secret@proxy:3128"},
        {"proxy": "http://user:secret@proxy:3128"},
        {"headers": {"Authorization": "Bearer secret"}},
        {"headers": {"authorization": "env:TOKENsecret "}},
        {"headers": {"Cookie": "sessionid=secret"}},
        {"headers": {"Cookie": "sessionid=env:SESSION; csrf=secret"}},
        {"headers": {"X-Api-Key": "secret"}},
        {"headers": {"X-Access-Token": "secret"}},
    ],
)
def test_a_secret_that_was_typed_in_is_not_written(
    folder: Folder, out: Folder, fields: dict[str, Any]
) -> None:
    client("c", **fields)
    client("d")
    report = into(out)
    assert told(report) == {
        "./out/c.websocket-client": "bad", "./out/d.websocket-client": "written",
    }  # fmt: skip
    assert "env:NAME" in report.bad[0].text
    assert "secret@" not in report.bad[0].text
    assert [path.name for path in out.path.iterdir()] == ["d.websocket-client"]


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "wss://env:USER:env:PASSWORD@example.com/?token=env:TOKEN&x="},
        {"uri": "ws://env:SITE/path"},
        {"proxy": "http://env:USER:env:PASSWORD@proxy:3128"},
        {"headers": {"Authorization": "Bearer env:TOKEN", "X-Client": "me"}},
        {"headers": {"Cookie": "sessionid=env:SESSION", "X-Api-Key": "env:KEY"}},
    ],
)
def test_a_reference_to_the_environment_is_no_secret(
    folder: Folder, out: Folder, fields: dict[str, Any]
) -> None:
    client("c", **fields)
    assert told(into(out)) == {"./out/c.websocket-client": "written"}


def test_what_stands_in_the_file_already_is_no_obstacle(folder: Folder) -> None:
    folder.client("c", uri="wss://example.com/?symbol=BTC")
    sync()
    Client.objects.update(description="new")
    assert told(back()) == {f"{PACKAGE}/c.websocket-client": "written"}
    Client.objects.update(uri="wss://example.com/?symbol=ETH")
    assert told(back()) == {f"{PACKAGE}/c.websocket-client": "bad"}


# There and back again

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ORIGINS = st.sampled_from(["*", "null", "https://example.com", "https://*.example.com:8443"])
SERVICES = st.sampled_from(["described.echo", "described.other", "described.*"])
TOKENS = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=20)
HEADER_VALUES = TEXT.filter(lambda text: text.isprintable() and max(text, default="") < "\u0100")
SECONDS = st.floats(0.1, 1e8)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "description": TEXT,
        "enabled": st.booleans(),
        "access": st.sampled_from([*map(str, Access)]),
        "permission": st.sampled_from(["", "auth.view_user"]),
        "origins": st.lists(ORIGINS, max_size=3),
        "services": st.lists(SERVICES, max_size=3, unique=True),
        "subprotocols": st.lists(TOKENS, max_size=3, unique=True),
        "inbox_bytes": st.integers(1, 2**31 - 1),
        "on_change": st.sampled_from([*map(str, OnChange)]),
        "on_handler_error": st.sampled_from([*map(str, OnHandlerError)]),
    },
).filter(lambda fields: not (fields.get("access") == "public" and fields.get("permission")))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(fields=FIELDS, ttl=st.none() | SECONDS, headers=st.dictionaries(TOKENS, HEADER_VALUES))
def test_what_was_exported_is_unchanged_and_makes_the_same_rows_elsewhere(
    folder: Folder, out: Folder, fields: dict[str, Any], ttl: float | None, headers: dict[str, str]
) -> None:
    for model in (Endpoint, Client):
        model.objects.all().delete()
    endpoint("room/<slug:room>", **fields)
    named = {f"X-{name}": value for name, value in headers.items()}
    client("c", message_ttl=ttl, headers=named, verify_tls=False)
    assert not into(out, force=True, own=True).bad
    assert not told(sync([out.path]))
    before = [kind.values_of(kind.model.objects.get()) for kind in (ENDPOINTS, CLIENTS)]
    for model in (Endpoint, Client):
        model.objects.all().delete()
    assert not sync([out.path]).bad
    assert before == [kind.values_of(kind.model.objects.get()) for kind in (ENDPOINTS, CLIENTS)]
    assert not told(back())
