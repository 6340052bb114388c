"""Handlers are found, loaded and refused; nothing outside of the allow-list is ever imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from websockets_app.dispatch import loader
from websockets_app.dispatch.engines import PythonEngine, get_engine
from websockets_app.exceptions import (
    ConfigurationError,
    HandlerImportFailed,
    HandlerNotAllowed,
    HandlerNotFound,
    UnknownEngine,
)

CALLBACK = "def on_message(message): pass\n"
ENGINE = PythonEngine()


@pytest.mark.parametrize(
    "spelling",
    [
        "ws_handler",
        "ws-handler.js",
        "/ws-handler.py",
        "written_handlers.ws_handler",
        "written-handlers/ws-handler",
        "/written-handlers/ws-handler.js",
    ],
)
def test_every_spelling_resolves_to_the_absolute_dotted_name(
    write_handler: WriteHandler, spelling: str
) -> None:
    stored = write_handler("ws_handler", CALLBACK)
    assert ENGINE.resolve(spelling) == stored
    assert ENGINE.resolve(stored) == stored


def test_the_first_package_that_has_the_module_wins(write_handler: WriteHandler) -> None:
    write_handler("echo", CALLBACK)
    assert ENGINE.resolve("echo") == "handlers.echo"
    assert ENGINE.resolve("written_handlers.echo") == "written_handlers.echo"


def test_resolving_does_not_import_the_module(write_handler: WriteHandler) -> None:
    stored = write_handler("explosive", "raise RuntimeError('imported')")
    assert ENGINE.resolve("explosive") == stored
    assert stored not in sys.modules


def test_a_handler_that_is_not_there_is_named_with_where_it_was_looked_for() -> None:
    with pytest.raises(HandlerNotFound) as missing:
        ENGINE.resolve("chat/nowhere")
    assert "'chat/nowhere'" in str(missing.value)
    assert "handlers.chat.nowhere" in str(missing.value)
    assert "HANDLER_PACKAGES" in str(missing.value)


def test_a_module_below_a_module_is_not_found() -> None:
    with pytest.raises(HandlerNotFound):
        ENGINE.resolve("handlers.echo.more")


@pytest.mark.parametrize(
    "name",
    ["os", "os.path", "websockets_app.models", "handlersx", "", ".", "handlers/echo", "../x"],
)
def test_what_is_not_allowed_is_refused_before_it_is_imported(name: str) -> None:
    with pytest.raises(HandlerNotAllowed, match="HANDLER_PACKAGES"):
        ENGINE.load(name)


@pytest.mark.parametrize("part", ["_private", "__main__", "__init__", "py", "not-a-name"])
def test_a_module_that_no_reference_can_name_is_not_loaded_and_not_offered(
    write_handler: WriteHandler, part: str
) -> None:
    stored = write_handler(part, CALLBACK + "raise RuntimeError('imported')")
    with pytest.raises(HandlerNotAllowed, match="no public module below"):
        ENGINE.load(stored)
    assert stored not in ENGINE.discover()
    assert stored not in sys.modules


def test_a_module_outside_is_never_imported_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forbidden_module.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for spelling in ("forbidden_module", "/forbidden-module.py", "handlers/../forbidden_module"):
        with pytest.raises((HandlerNotFound, HandlerNotAllowed)):
            ENGINE.resolve(spelling)
        with pytest.raises(HandlerNotAllowed):
            ENGINE.load(spelling)
    assert "forbidden_module" not in sys.modules


def test_an_installed_app_may_have_handlers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    shop = tmp_path / "pytest_shop"
    (shop / "websocket_handlers").mkdir(parents=True)
    (shop / "__init__.py").touch()
    (shop / "websocket_handlers" / "__init__.py").touch()
    (shop / "websocket_handlers" / "orders.py").write_text(CALLBACK)
    (shop / "views.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerNotAllowed):
        ENGINE.load("pytest_shop.websocket_handlers.orders")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "pytest_shop"]
    assert ENGINE.resolve("pytest-shop/websocket-handlers/orders.js") == (
        "pytest_shop.websocket_handlers.orders"
    )
    assert "on_message" in ENGINE.load("pytest_shop.websocket_handlers.orders")
    assert "pytest_shop.websocket_handlers.orders" in ENGINE.discover()
    with pytest.raises(HandlerNotAllowed):
        ENGINE.load("pytest_shop.views")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("def on_message(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_raises_while_it_is_imported_says_what(
    write_handler: WriteHandler, source: str, told: str
) -> None:
    name = write_handler("broken", source)
    with pytest.raises(HandlerImportFailed, match="can't be imported") as failed:
        ENGINE.load(name)
    assert told in str(failed.value)


@pytest.mark.parametrize(
    "source", ["raise RuntimeError", "import no_such_library", "raise SystemExit"]
)
def test_a_package_that_raises_while_it_is_imported_says_so_and_hides_no_other(
    write_handler: WriteHandler, tmp_path: Path, source: str
) -> None:
    fine = write_handler("fine", CALLBACK)
    broken = tmp_path / "written_handlers" / "broken"
    (broken / "deeper").mkdir(parents=True)
    (broken / "__init__.py").write_text(source)
    (broken / "deeper" / "__init__.py").touch()
    (broken / "module.py").write_text(CALLBACK)
    with pytest.raises(HandlerImportFailed):
        ENGINE.resolve("written_handlers.broken.module")
    assert fine in ENGINE.discover()


def test_a_module_that_was_broken_can_be_loaded_once_it_is_repaired(
    write_handler: WriteHandler,
) -> None:
    name = write_handler("repaired", "raise RuntimeError")
    with pytest.raises(HandlerImportFailed):
        loader.load("python", name)
    # Another length: the import system compares that with the compiled file's, and the time.
    write_handler("repaired", CALLBACK)
    assert loader.load("python", name).on_message is not None


def test_what_there_is_to_choose_from_leaves_out_private_modules_and_imports_none(
    write_handler: WriteHandler, tmp_path: Path
) -> None:
    name = write_handler("listed", "raise RuntimeError('imported')")
    write_handler("_private", "")
    nested = tmp_path / "written_handlers" / "chat"
    nested.mkdir()
    (nested / "__init__.py").touch()
    (nested / "service.py").write_text(CALLBACK)
    found = [n for n in ENGINE.discover() if n.startswith("written_handlers")]
    assert found == ["written_handlers.chat.service", name]
    assert {"handlers.echo", "handlers.room"} <= set(ENGINE.discover())


def test_a_package_of_handlers_that_does_not_exist_hides_no_other(settings: Settings) -> None:
    settings.WEBSOCKETS = {"HANDLER_PACKAGES": ["nowhere", "nowhere.at.all", "handlers"]}
    assert "handlers.echo" in ENGINE.discover()
    assert ENGINE.resolve("echo") == "handlers.echo"


def test_an_unknown_engine_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownEngine, match=r"'lua'.* has python"):
        get_engine("lua")


def test_an_engine_whose_class_is_not_there_is_a_configuration_error(settings: Settings) -> None:
    settings.WEBSOCKETS = {"ENGINES": {"lua": "no_such_package.Engine"}}
    with pytest.raises(ConfigurationError, match=r"ENGINES'\]\['lua'\]"):
        get_engine("lua")
    assert "no_such_package" in loader.problem_of("lua", "anything")


class ShoutingEngine:
    """An engine of a site's own."""

    def resolve(self, reference: str) -> str:
        return reference.upper()

    def load(self, name: str) -> dict[str, object]:
        return {"on_message": lambda message: message.upper()}

    def discover(self) -> list[str]:
        return ["SHOUT"]


def test_a_site_may_add_an_engine_of_its_own(settings: Settings) -> None:
    settings.WEBSOCKETS = {"ENGINES": {"shout": f"{__name__}.ShoutingEngine"}}
    assert loader.resolve("shout", "x") == "X"
    handler = loader.load("shout", "X")
    assert handler.reference == "X"
    assert get_engine("shout").discover() == ["SHOUT"]
    loader.load.cache_clear()
