"""A command that tells, line by line, what became of files."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ..descriptors.report import Report


class ReportingCommand(BaseCommand):
    """Ends with status 1 where something was bad, after everything else was done."""

    def tell(self, report: Report, options: dict[str, Any], failed: str) -> None:
        """Print `report`; raise `CommandError`, saying `failed`, where something in it is bad."""
        for bad in report.bad:
            self.stderr.write(str(bad))
        if options["verbosity"] > 0:
            for line in report.worth_telling:
                self.stdout.write(str(line))
            dry = "Dry run, nothing is written: " if options["dry_run"] else ""
            self.stdout.write(f"{dry}{report.summary}")
        if report.bad:
            raise CommandError(failed)
