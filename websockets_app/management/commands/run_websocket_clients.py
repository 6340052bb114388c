"""`manage.py run_websocket_clients`: hold the sockets of all clients."""

from __future__ import annotations

import asyncio
import io
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...outbound import report, runner


class Command(BaseCommand):
    """Starts the runner."""

    help = (
        "Hold the connections of every client that should run, until SIGTERM or Ctrl-C. "
        "What the clients' handlers print appears here."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="Only these clients, by name; default: all."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names: list[str] = options["names"]
        if unknown := report.missing(names):
            raise CommandError(unknown)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # a log file shows prints as they come
        asyncio.run(runner.run(names, self._say))

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
