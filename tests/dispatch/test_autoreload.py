"""Django's autoreloader watches handlers, whether or not they can be imported."""

from __future__ import annotations

from pathlib import Path

from django.utils.autoreload import StatReloader, autoreload_started
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler


def watched() -> tuple[set[Path], set[Path]]:
    """Return the folders and the files that the reloader watches beside imported modules."""
    reloader = StatReloader()
    autoreload_started.send(sender=reloader)
    return set(reloader.directory_globs), set(reloader.extra_files)


def test_handler_packages_are_watched_without_importing_them(
    write_handler: WriteHandler, tmp_path: Path, settings: Settings
) -> None:
    write_handler("broken", "this is no Python")
    package = tmp_path / "written_handlers"
    (package / "__init__.py").write_text("raise LookupError")
    (package / "deeper").mkdir()
    folders, _ = watched()
    assert package in folders
    packages = ["written_handlers.deeper", "written_handlers.broken", "there_is_none"]
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HANDLER_PACKAGES": packages}
    folders, files = watched()
    assert package / "deeper" in folders
    assert package / "broken.py" in files


def test_the_handlers_of_installed_apps_are_watched() -> None:
    import websockets_app

    assert Path(websockets_app.__file__).parent / "websocket_handlers.py" in watched()[1]
