"""`manage.py drain_websockets`: close sessions over a time, before a deployment."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from ...core.close_codes import MAX_REASON_BYTES, CloseCode, checked
from ...database import drop_broken_connections
from ...inbound import drain_orders
from ...inbound.drain_orders import Orders, Progress
from ...models import Node
from ...node.health import no_answer

DAY: Final = 86_400.0
INTERRUPTED: Final = 130
"""The exit status of a program that Ctrl-C ended."""


class Command(BaseCommand):
    """Asks nodes to drain, and tells how far they come."""

    help = (
        "Close the sessions of server processes over a time, so that their peers don't all come "
        "back at once. Ends with status 0 when all are closed. Ctrl-C stops it, and whoever is "
        "still connected stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        _add_where(parser)
        _add_how(parser)
        parser.add_argument(
            "--no-wait", action="store_true", help="Ask, and don't wait for the end."
        )
        parser.add_argument(
            "--cancel", action="store_true",
            help="Stop what was asked for before, and let everybody in again.",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="Print one JSON array in the end.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            nodes = self._nodes(options)
            if options["cancel"]:
                self._say(options, f"Drains cancelled: {drain_orders.cancel(nodes)}.")
                return
            orders = self._ask(nodes, options)
        except Error as error:
            raise CommandError(no_answer(error)) from error
        if not options["no_wait"]:
            self._follow(orders, options)

    def _nodes(self, options: dict[str, Any]) -> list[Node]:
        chosen = (options[name] for name in ("all", "node", "host", "local", "endpoint", "cancel"))
        if not any(chosen):
            raise CommandError(
                "Say what to drain: --all drains every server process; --node, --host, --local "
                "and --endpoint drain some."
            )
        names: list[str] = options["node"]
        host = drain_orders.this_host() if options["local"] else options["host"]
        nodes = drain_orders.servers(names, host)
        if wrong := drain_orders.unclear(names, nodes):
            raise CommandError(wrong)
        return nodes

    def _ask(self, nodes: Sequence[Node], options: dict[str, Any]) -> Orders:
        if wrong := drain_orders.unknown(options["endpoint"]):
            raise CommandError(wrong)
        self._say(options, f"Server nodes to drain: {len(nodes)}, over {options['over']:g} s.")
        return drain_orders.ask(
            nodes, seconds=options["over"], keep_out=options["keep_out"],
            endpoints=options["endpoint"], code=options["code"], reason=options["reason"],
        )  # fmt: skip

    def _follow(self, orders: Orders, options: dict[str, Any]) -> None:
        try:
            last = self._watch(orders, options)
        except KeyboardInterrupt:
            self._cancel(orders, options)
            sys.exit(INTERRUPTED)
        self._tell_end(last, options)
        if left := [each.address for each in last if not each.is_done]:
            raise CommandError(f"Not drained: {', '.join(left)}.")

    def _cancel(self, orders: Orders, options: dict[str, Any]) -> None:
        try:
            orders.cancel()
            self._tell_end(orders.progress(), options)
        except Error as error:
            raise CommandError(f"Not cancelled, the nodes go on. {no_answer(error)}") from error
        self.stderr.write("Cancelled: whoever is still connected stays.")

    def _watch(self, orders: Orders, options: dict[str, Any]) -> tuple[Progress, ...]:
        """Look until all is over, and tell what is new; a database that is away is asked again."""
        told, last = "", orders.unseen()
        for _ in orders.looks():
            try:
                last = orders.progress()
            except Error as error:
                news = no_answer(error)
                drop_broken_connections()
            else:
                if all(each.is_over for each in last):
                    break
                news = drain_orders.summary(last)
            if news != told:
                self._say(options, news)
            told = news
        return last

    def _tell_end(self, progress: Sequence[Progress], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(drain_orders.as_list(progress)))
        elif progress:
            self.stdout.write("\n".join(drain_orders.lines(progress)))

    def _say(self, options: dict[str, Any], line: str) -> None:
        out = self.stderr if options["json"] else self.stdout
        out.write(line)
        out.flush()


def _add_where(parser: ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--all", action="store_true", help="Every server process, on whatever host it runs."
    )
    where.add_argument(
        "--node", action="append", default=[], metavar="NODE",
        help="Only this process: its host:pid, or its id or the beginning of it; may be repeated.",
    )  # fmt: skip
    where.add_argument("--host", help="Only the processes of the host of this name.")
    where.add_argument("--local", action="store_true", help="Only the processes of this host.")
    parser.add_argument(
        "--endpoint", action="append", default=[], metavar="ENDPOINT",
        help="Only the sessions of this endpoint; may be repeated.",
    )  # fmt: skip


def _add_how(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--over", type=_seconds, default=30.0, metavar="SECONDS",
        help="How long the closing takes; 30 by default.",
    )  # fmt: skip
    parser.add_argument(
        "--keep-out", type=_seconds, metavar="SECONDS",
        help="Admit nobody new meanwhile, nor for so many seconds afterwards.",
    )  # fmt: skip
    parser.add_argument(
        "--code", type=_code, default=CloseCode.SERVICE_RESTART.value,
        help="The close code; 1012 by default.",
    )  # fmt: skip
    parser.add_argument(
        "--reason", type=_reason, default="", help="The close reason; none by default."
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DAY:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {DAY:g}")
    return seconds


def _code(text: str) -> int:
    try:
        code = checked(int(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return code


def _reason(text: str) -> str:
    if len(text.encode()) > MAX_REASON_BYTES:
        raise ArgumentTypeError(f"a close reason has {MAX_REASON_BYTES} bytes at most")
    return text
