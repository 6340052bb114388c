"""What the app writes where people read it: without secrets, and without control characters.

Each logger of the app comes from `get_logger`. So whatever is logged is clean, exceptions and
their tracebacks included, whichever handlers and formatters a site has.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from numbers import Number
from typing import Any, Final

from .conf import app_settings
from .core.exception_texts import with_texts
from .core.redaction import Redactor
from .core.text import tame

TEXT_LIMIT: Final = 4000
"""Characters that are kept of one text in a log line, and of an exception's own text."""
_EXTRAS: Final = ("endpoint", "client")


def redactor() -> Redactor:
    """Return the redactor for the names that the settings call secret."""
    return _redactor(tuple(app_settings.REDACTED_NAMES), tuple(app_settings.REDACTED_WORDS))


_redactor = lru_cache(maxsize=4)(Redactor)


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return `text` on one line, without secrets, in `limit` characters at most."""
    # A secret may begin before the cut and end after it, so that is made afterwards.
    return tame(redactor().text(text[: 2 * limit]), limit)


def get_logger(name: str) -> logging.Logger:
    """Return the logger `name`, which cleans what is logged."""
    logger = logging.getLogger(name)
    logger.addFilter(_clean_record)
    return logger


def _clean_record(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and record.args:
        record.args = tuple(map(_cleaned, record.args))
    else:
        record.msg = clean(record.getMessage())
        record.args = None
    if record.exc_info and record.exc_info[1] is not None:
        error = with_texts(record.exc_info[1], clean)
        record.exc_info = type(error), error, record.exc_info[2]
    for name in _EXTRAS:
        if isinstance(value := record.__dict__.get(name), str):
            record.__dict__[name] = clean(value)
    return True


def _cleaned(value: Any) -> Any:
    return value if value is None or isinstance(value, Number) else _Clean(value)


class _Clean:
    """An argument of a log record, cleaned when a formatter asks for its text."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return clean(str(self._value))

    def __repr__(self) -> str:
        return clean(repr(self._value))
