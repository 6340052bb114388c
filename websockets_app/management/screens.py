"""Where `websocket_clients` shows its reports: a page, a screen drawn anew, lines of JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from django.core.management.base import OutputWrapper
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from django.utils import timezone

from ..database import drop_broken_connections
from ..node.health import no_answer
from ..outbound.report import Report, shown_time

CLEAR: Final = "\x1b[H\x1b[2J"
# What is no terminal, as a file or a pipe, takes lines of any length.
ANY_SIZE: Final = (10_000, 0)


class Surface(Protocol):
    """What takes reports."""

    def show(self, report: Report) -> None: ...

    def tell(self, trouble: str) -> None: ...


class JsonLines:
    """A report is one line of JSON; what isn't part of it goes to the other stream."""

    def __init__(self, out: OutputWrapper, err: OutputWrapper) -> None:
        self._out = out
        self._err = err

    def show(self, report: Report) -> None:
        if report.warning:
            self.tell(report.warning)
        self._out.write(json.dumps(report.as_list(), cls=DjangoJSONEncoder))
        self._out.flush()

    def tell(self, trouble: str) -> None:
        self._err.write(trouble)


class Page:
    """A report is a table, as wide as the terminal."""

    def __init__(self, out: OutputWrapper) -> None:
        self._out = out

    def show(self, report: Report) -> None:
        width, _ = shutil.get_terminal_size(ANY_SIZE)
        self._out.write("\n".join(report.lines(width)))

    def tell(self, trouble: str) -> None:
        self._out.write(trouble)


class Screen:
    """A report is a table that takes the place of the last one, where there is a terminal."""

    def __init__(self, out: OutputWrapper, every: float) -> None:
        self._out = out
        self._every = every

    def show(self, report: Report) -> None:
        width, height = shutil.get_terminal_size(ANY_SIZE)
        # The heading takes a line, and so does the cursor below the last one.
        self._draw(report.lines(width, height - 2 if self._out.isatty() else None))

    def tell(self, trouble: str) -> None:
        self._draw([trouble])

    def _draw(self, lines: list[str]) -> None:
        heading = f"{shown_time(timezone.now())}, every {self._every:g} s; Ctrl-C ends"
        before = CLEAR if self._out.isatty() else ""
        self._out.write(before + "\n".join([heading, *lines]))
        self._out.flush()


def watch(look: Callable[[], Report], surface: Surface, every: float) -> None:
    """Show what there is `every` so many seconds, until Ctrl-C or until nobody reads any more.

    A database that is away is told of, and asked again.
    """
    try:
        while True:
            _refresh(look, surface)
            time.sleep(every)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refresh(look: Callable[[], Report], surface: Surface) -> None:
    try:
        surface.show(look())
    except Error as error:
        surface.tell(no_answer(error))
        drop_broken_connections()
