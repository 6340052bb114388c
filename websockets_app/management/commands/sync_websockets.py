"""`manage.py sync_websockets`: make rows of descriptor files."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, no_translations

from ...descriptors.sync import sync
from ...exceptions import InvalidDescriptorPath
from ..reporting import ReportingCommand


class Command(ReportingCommand):
    """Reads the files, writes the rows, and tells what it did."""

    help = (
        "Make endpoints of *.websocket files and clients of *.websocket-client files. "
        "Rows that people made are never touched."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "paths",
            nargs="*",
            type=Path,
            metavar="PATH",
            help="Folders or files; default: the folders of WEBSOCKETS['HANDLER_PACKAGES'] "
            "and the folder websockets/ of each installed app.",
        )
        parser.add_argument(
            "--prune", action="store_true", help="Delete the rows whose file is gone."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Tell what would be done, and write nothing."
        )

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = sync(options["paths"], prune=options["prune"], dry_run=options["dry_run"])
        except InvalidDescriptorPath as problem:
            raise CommandError(str(problem)) from None
        self.tell(report, options, "What is bad keeps the row that it had; all else is done.")
