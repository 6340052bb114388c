"""A handler that failed to load is loaded anew: as its files are now."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.inbound.conftest import WriteHandler
from websockets_app.dispatch import loader
from websockets_app.exceptions import HandlerImportFailed, HandlerInvalid, HandlerProblem

GOOD = "def on_message(message): return message\n"


def test_a_corrected_module_is_loaded(write_handler: WriteHandler) -> None:
    name = write_handler("module", "this is no Python")
    with pytest.raises(HandlerImportFailed):
        loader.load("python", name)
    write_handler("module", GOOD)
    assert loader.load("python", name).on_message


def test_a_module_that_is_written_later_is_found(write_handler: WriteHandler) -> None:
    name = write_handler("exists", GOOD).replace("exists", "later")
    with pytest.raises(HandlerProblem):
        loader.load("python", name)
    write_handler("later", GOOD)
    assert loader.load("python", name).on_message


@pytest.mark.parametrize(
    "statement", ["from .helper import answer", "from . import helper; helper.answer"]
)
def test_a_correction_in_a_module_that_the_handler_imports_is_seen(
    write_handler: WriteHandler, statement: str
) -> None:
    write_handler("helper", "")
    name = write_handler("module", f"{statement}\n{GOOD}")
    with pytest.raises(HandlerImportFailed, match="answer"):
        loader.load("python", name)
    write_handler("helper", "answer = 42")
    assert loader.load("python", name).on_message


def test_a_module_without_callbacks_is_imported_again_once_it_has_some(
    write_handler: WriteHandler,
) -> None:
    name = write_handler("module", "def on_mesage(): pass")
    with pytest.raises(HandlerInvalid):
        loader.load("python", name)
    write_handler("module", GOOD)
    assert loader.load("python", name).on_message


def test_a_package_whose_init_failed_is_imported_again_with_its_modules(
    write_handler: WriteHandler, tmp_path: Path
) -> None:
    package = tmp_path / "written_handlers" / "package"
    package.mkdir()
    (package / "helper.py").write_text("")
    (package / "__init__.py").write_text("from .helper import answer")
    (package / "module.py").write_text(GOOD)
    name = "written_handlers.package.module"
    with pytest.raises(HandlerImportFailed):
        loader.load("python", name)
    (package / "helper.py").write_text("answer = 42")
    assert loader.load("python", name).on_message


def test_helpers_that_did_not_change_or_that_others_use_stay(write_handler: WriteHandler) -> None:
    write_handler("used", GOOD)
    loader.load("python", "written_handlers.used")
    used = sys.modules["written_handlers.used"]
    write_handler("helper", "")
    name = write_handler("module", "from . import helper, used\nraise LookupError('not yet')")
    for _ in range(3):
        with pytest.raises(HandlerImportFailed):
            loader.load("python", name)
        helper = sys.modules["written_handlers.helper"]
        assert sys.modules["written_handlers.used"] is used
    with pytest.raises(HandlerImportFailed):
        loader.load("python", name)
    assert sys.modules["written_handlers.helper"] is helper
