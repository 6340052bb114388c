"""`manage.py websocket_health`: tell probes and monitoring whether the nodes are well."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from ...core.states import NodeKind
from ...node import health


class Command(BaseCommand):
    """Tells by its exit status whether the nodes are well."""

    help = (
        "Tell whether the nodes are well: with exit status 0, or 1 where a node that counts as "
        "alive doesn't renew its lease, where callbacks outlive their session or wait because "
        "all threads are busy, where clients should run and no runner is alive, where a node "
        "asked for is missing, or where the database doesn't answer."
    )
    requires_system_checks = ()  # a probe runs often, and asks about the nodes alone

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--kind",
            action="append",
            choices=[kind.value for kind in NodeKind],
            default=[],
            help="Look at nodes of this kind only, and want one alive; may be repeated.",
        )
        parser.add_argument(
            "--local", action="store_true", help="Look at the nodes of this host only."
        )
        parser.add_argument(
            "--all", action="store_true", help="List the nodes that stopped or were lost as well."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        found = health.examine(options["kind"], local=options["local"], every=options["all"])
        if options["json"]:
            self.stdout.write(json.dumps(found.as_dict(), cls=DjangoJSONEncoder))
        else:
            self.stdout.write("\n".join(found.lines()))
        if found.problems:
            sys.exit(1)
