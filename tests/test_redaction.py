"""Whatever the app logs has no secrets and no control characters, whatever a site configures."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

import websockets_app
from websockets_app.redaction import clean, get_logger

FORGED = "2026-01-01 00:00:00,000 ERROR root: forged"
HOSTILE = f"a\n{FORGED}\r\x1b[2J\x9b2J\u202e\u2028\u2029\x85\x00b"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")

logger = get_logger("websockets_app.tests")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """A log as a site may configure it: a plain formatter, and nothing else."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("websockets_app").addHandler(handler)
    yield stream
    logging.getLogger("websockets_app").removeHandler(handler)


def is_clean(text: str) -> bool:
    lines = text.split("\n")
    return not CONTROLS.search(text) and FORGED not in lines and "hunter2" not in text


def test_a_message_is_one_line_without_control_characters_and_secrets(log: io.StringIO) -> None:
    secret = '{"password": "hunter2"}'
    logger.warning("Refused %s: %r, %d", HOSTILE, HOSTILE, 5)
    logger.warning("Refused %s: %s", secret, ValueError(secret))
    logger.warning("Refused %r", ValueError(secret))
    logger.warning(f"Refused {HOSTILE} {secret}")  # noqa: G004
    assert is_clean(log.getvalue())
    assert log.getvalue().count("\n") == 4
    assert "forged" in log.getvalue()


def nested() -> BaseException:
    """Return an exception with a cause, a context, a group and a note, all of them hostile."""
    text = f"{HOSTILE} token=hunter2"
    try:
        try:
            try:
                raise KeyError(text)
            except KeyError:
                raise ValueError(text) from OSError(text)
        except ValueError as error:
            error.add_note(text)
            raise ExceptionGroup(text, [error, TypeError(text)]) from None
    except ExceptionGroup as group:
        return group


def test_a_traceback_has_no_forged_line_and_no_secret(log: io.StringIO) -> None:
    logger.error("Failed", exc_info=nested())
    logged = log.getvalue()
    assert is_clean(logged)
    assert "in nested" in logged
    for name in ("ExceptionGroup: ", "ValueError: ", "OSError: ", "TypeError: "):
        assert name in logged


def test_an_exception_keeps_its_name_and_traceback_for_whatever_reads_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class SiteError(Exception):
        pass

    try:
        raise SiteError("password=hunter2")
    except SiteError as error:
        raised = error
        logger.exception("Failed")
    [record] = caplog.records
    assert record.exc_info is not None
    kind, shown, traceback = record.exc_info
    assert kind is not None
    assert (kind.__module__, kind.__qualname__) == (SiteError.__module__, SiteError.__qualname__)
    assert str(shown) == "password=…"
    assert traceback is raised.__traceback__


def test_an_exception_that_is_its_own_cause_or_has_no_text_is_logged(log: io.StringIO) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    circle = ValueError("circle")
    circle.__cause__ = circle
    chain: BaseException = Mute()
    for _ in range(5000):
        outer = ValueError("outer")
        outer.__context__, chain = chain, outer
    for error in (circle, Mute(), chain):
        logger.error("Failed", exc_info=error)
    assert log.getvalue().count("Failed") == 3
    assert "its text can't be read" in log.getvalue()


def test_what_log_lines_carry_besides_is_clean_as_well(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("Refused", extra={"endpoint": HOSTILE})
    [record] = caplog.records
    assert is_clean(record.__dict__["endpoint"])


def test_harmless_texts_and_numbers_are_logged_as_they_are(log: io.StringIO) -> None:
    logger.warning("%s of %d: %.1f, %r, %s", "Grüße, 世界", 5, 1.25, "x", None)
    assert log.getvalue().endswith("Grüße, 世界 of 5: 1.2, 'x', None\n")


def test_the_names_of_secrets_are_those_of_the_settings(settings: Settings) -> None:
    settings.WEBSOCKETS = {"REDACTED_NAMES": ["geheim"], "REDACTED_WORDS": ["größe"]}
    assert clean("geheimnis=a, password=b, Größe=c") == "geheimnis=…, password=b, Größe=…"


@pytest.mark.parametrize("name", ["X-Api-Key", "pwd", "userPin", "jwt", "Session-ID", "auth"])
def test_more_names_are_secret_by_default(name: str) -> None:
    assert clean(f"{name}=hunter2") == f"{name}=…"


def test_every_logger_of_the_app_cleans_what_it_logs() -> None:
    """A logger of another origin would pass on what peers send."""
    package = Path(websockets_app.__file__).parent
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"getLogger\(|logging\.(warning|error|exception)", path.read_text("utf-8"))
    ]
    assert found == ["redaction.py"]


def test_loggers_need_no_configuration_and_survive_that_of_a_site() -> None:
    program = """
import logging.config
from django.conf import settings
settings.configure()
from websockets_app.redaction import get_logger
logger = get_logger("websockets_app.early")
logging.config.dictConfig({
    "version": 1, "disable_existing_loggers": False,
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "loggers": {"websockets_app": {"handlers": ["out"], "propagate": False}},
})
logger.warning("%s", "a\\nforged token=hunter2")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "a\\nforged token=…\n"
