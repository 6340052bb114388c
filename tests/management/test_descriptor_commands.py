"""The commands tell line by line what they did, and end with status 1 where something is bad."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import translation
from pytest_django import Settings

from tests.infrastructure.site import Site
from websockets_app.models import Endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def conf(tmp_path: Path, settings: Settings) -> Path:
    settings.BASE_DIR = tmp_path
    path = tmp_path / "conf"
    path.mkdir()
    return path


def write(folder: Path, name: str, **keys: object) -> None:
    given = {"endpoint": name, "handler": "handlers.echo", **keys}
    (folder / f"{name}.websocket").write_text(json.dumps(given))


class Output:
    """What a command wrote."""

    def __init__(self, command: str, *arguments: object, fails: str = "", **options: object):
        out, errors = StringIO(), StringIO()
        options |= {"stdout": out, "stderr": errors}
        if fails:
            with pytest.raises(CommandError, match=fails):
                call_command(command, *map(str, arguments), **options)
        else:
            call_command(command, *map(str, arguments), **options)
        self.lines, self.errors = out.getvalue().splitlines(), errors.getvalue().splitlines()


def test_a_sync_tells_each_file_that_matters_and_a_summary(conf: Path) -> None:
    write(conf, "a")
    write(conf, "b")
    assert Output("sync_websockets", conf, "--dry-run").lines == [
        "new: ./conf/a.websocket: endpoint a",
        "new: ./conf/b.websocket: endpoint b",
        "Dry run, nothing is written: 2 new, 0 changed, 0 unchanged, 0 gone, 0 deleted, 0 bad.",
    ]
    Output("sync_websockets", conf)
    (conf / "b.websocket").unlink()
    assert Output("sync_websockets", conf, "--prune").lines == [
        "deleted: ./conf/b.websocket: endpoint b",
        "0 new, 0 changed, 1 unchanged, 0 gone, 1 deleted, 0 bad.",
    ]


def test_what_is_bad_goes_to_stderr_whatever_the_verbosity(conf: Path) -> None:
    write(conf, "a", access="all")
    write(conf, "b")
    ran = Output("sync_websockets", conf, verbosity=0, fails="keeps the row that it had")
    assert not ran.lines
    assert ran.errors == [
        "bad: ./conf/a.websocket: access: Value 'all' is not a valid choice. "
        "It may be public, authenticated, staff."
    ]
    assert Endpoint.objects.get().endpoint == "b"


def test_a_name_cannot_steer_the_terminal(conf: Path) -> None:
    given = {"uri": "ws://example.com/", "handler": "handlers.echo", "name": "a\x1b[2J\nnew: b"}
    (conf / "a.websocket-client").write_text(json.dumps(given))
    ran = Output("sync_websockets", conf, fails="bad")
    why = "name: Write it without control characters."
    assert ran.errors == [f"bad: ./conf/a.websocket-client: {why}"]
    (conf / "a.websocket-client").rename(conf / "a\x1b[2J\nnew: b.websocket")
    ran = Output("sync_websockets", conf, fails="bad")
    assert r"a\x1b[2J\nnew: b.websocket': its name holds what can't be printed" in ran.errors[0]


def test_reasons_are_english_whatever_the_site_speaks(conf: Path) -> None:
    write(conf, "a", access="all")
    with translation.override("de"):
        ran = Output("sync_websockets", conf, fails="bad")
    assert "is not a valid choice" in ran.errors[0]


def test_a_path_that_is_not_there_is_an_error(conf: Path) -> None:
    Output("sync_websockets", conf / "x", fails="x' doesn't exist")


def test_an_export_tells_what_it_wrote(conf: Path) -> None:
    Endpoint.objects.create(endpoint="a", handler="handlers.echo")
    assert Output("export_websockets", conf, "--own").lines == [
        "written: ./conf/a.websocket: endpoint a",
        "1 written, 0 unchanged, 0 bad.",
    ]
    assert Output("export_websockets").lines == ["0 written, 1 unchanged, 0 gone, 0 bad."]


def test_an_export_that_makes_no_sense_is_an_error(conf: Path) -> None:
    Endpoint.objects.create(endpoint="a", handler="handlers.echo")
    write(conf, "a", access="public")
    Output("export_websockets", "--own", fails="--own needs a DIRECTORY")
    Output("export_websockets", conf / "a.websocket", fails="is no folder")
    Output("export_websockets", "--client", "x", fails="There is no client x")
    Output("export_websockets", conf, fails="was not written")
    ran = Output("export_websockets", "--endpoint", "a", fails="was not written")
    assert ran.errors == ["bad: endpoint a: no file owns it; name a DIRECTORY for it"]


def test_the_exit_status_is_1_where_a_file_is_bad(site: Site) -> None:
    write(site.directory, "a", enabled="true")
    done = site.manage("sync_websockets", ".", check=False)
    assert done.returncode == 1
    assert done.stdout == "0 new, 0 changed, 0 unchanged, 0 gone, 0 deleted, 1 bad.\n"
    assert 'a.websocket: enabled: write true or false, not "true"' in done.stderr
