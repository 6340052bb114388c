"""`manage.py websocket_clients`: show how the clients do."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from functools import partial
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from ...node.health import no_answer
from ...outbound import report
from ..screens import JsonLines, Page, Screen, Surface, watch

WATCH_SECONDS: Final = 2.0
SHORTEST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 86_400.0


class Command(BaseCommand):
    """Shows each client's state, and why it is so."""

    help = "Show how the clients do: what their runner last told, and whether one is alive."
    requires_system_checks = ()  # it only looks, also where something is wrong

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="Only these clients, by name; default: all."
        )
        parser.add_argument(
            "--json", action="store_true", help="Print one JSON array; with --watch, one a line."
        )
        parser.add_argument(
            "--watch",
            nargs="?",
            type=_seconds,
            const=WATCH_SECONDS,
            metavar="SECONDS",
            help=f"Show it again and again, until Ctrl-C; every {WATCH_SECONDS:g} s by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names, every = options["names"], options["watch"]
        look = partial(report.look, names)
        surface = self._surface(as_json=options["json"], every=every)
        try:
            if unknown := report.missing(names):
                raise CommandError(unknown)
            if every:
                watch(look, surface, every)
            else:
                surface.show(look())
        except Error as error:
            raise CommandError(no_answer(error)) from error

    def _surface(self, *, as_json: bool, every: float | None) -> Surface:
        if as_json:
            return JsonLines(self.stdout, self.stderr)
        return Screen(self.stdout, every) if every else Page(self.stdout)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise ArgumentTypeError(
            f"{text!r} is no number of seconds from {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g}; "
            "write the names of clients before --watch"
        )
    return seconds
