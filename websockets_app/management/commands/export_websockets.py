"""`manage.py export_websockets`: write rows to descriptor files."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, no_translations

from ...core.text import tame
from ...descriptors.export import Options, unknown, write_back, write_into
from ...descriptors.kinds import CLIENTS, ENDPOINTS
from ...exceptions import InvalidDescriptorPath
from ..reporting import ReportingCommand


class Command(ReportingCommand):
    """Reads the rows, writes the files, and tells what it did."""

    help = (
        "Write rows to descriptor files: those that files own back into these, "
        "or all of them into a folder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder",
            nargs="?",
            type=Path,
            metavar="DIRECTORY",
            help="Where to write all rows to; default: each row that a file owns into that file.",
        )
        parser.add_argument(
            "--endpoint",
            action="append",
            default=[],
            metavar="ENDPOINT",
            help="Only this endpoint; may be repeated, and stand beside --client.",
        )
        parser.add_argument(
            "--client",
            action="append",
            default=[],
            metavar="NAME",
            help="Only this client; may be repeated.",
        )
        parser.add_argument(
            "--own",
            action="store_true",
            help="Let the files in DIRECTORY own the rows: the admin then shows these read-only.",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Replace files that say something else, and write anew those that are gone.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Tell what would be done, and write nothing."
        )

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path | None = options["folder"]
        if options["own"] and folder is None:
            raise CommandError("--own needs a DIRECTORY whose files are to own the rows.")
        how = Options(force=options["force"], own=options["own"], dry_run=options["dry_run"])
        asked = {ENDPOINTS: options["endpoint"], CLIENTS: options["client"]}
        names = asked if any(asked.values()) else {}
        if missing := unknown(names):
            raise CommandError(f"There is no {', no '.join(map(tame, missing))}.")
        try:
            report = write_into(folder, names, how) if folder else write_back(names, how)
        except InvalidDescriptorPath as problem:
            raise CommandError(str(problem)) from None
        self.tell(report, options, "What is bad was not written; all else is done.")
