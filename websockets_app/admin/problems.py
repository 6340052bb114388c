"""Why rows can't be used: as nodes report it, or as this process finds if no node is alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Exists, Prefetch, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, ngettext

from ..core.states import NodeKind
from ..models import LoadError, Node
from ..models.descriptor import Descriptor
from .base import change_link, cut, exact_time, shown_problem

RowsT = TypeVar("RowsT", bound=QuerySet[Any])
ProblemOf = Callable[[Any], str]


def with_problems(rows: RowsT, kind: NodeKind) -> RowsT:
    """Read with `rows` what live nodes of `kind` report of them: one query for all."""
    live = Node.objects.live().filter(kind=kind)
    reported = LoadError.objects.filter(node__in=live).select_related("node")
    ordered = reported.order_by("node__hostname", "node__pid")
    reports = Prefetch("load_errors", queryset=ordered, to_attr="reported_errors")
    return rows.annotate(has_live_nodes=Exists(live)).prefetch_related(reports)


def problems_in_brief(row: Descriptor, problem_here: ProblemOf) -> str:
    """Return the problems of a row `with_problems` for a list; nothing if there is none."""
    errors = _reported(row)
    numbers = Counter(error.problem for error in errors)
    lines = [
        (
            shown_problem(cut(problem)),
            ngettext("on %d process", "on %d processes", number) % number,
        )
        for problem, number in numbers.items()
    ]
    if lines:
        return format_html_join("", "<div>{} <small>{}</small></div>", lines)
    return _problem_here(row, problem_here)


def problems_in_full(row: Descriptor, problem_here: ProblemOf) -> str:
    """Return the problems of a row `with_problems` for its page, node by node."""
    lines = [
        (
            change_link(Node, error.node.pk, error.node),
            shown_problem(error.problem),
            _attempts(error),
        )
        for error in _reported(row)
    ]
    if lines:
        return format_html_join("", "<div>{}: {}<br><small>{}</small></div>", lines)
    return _problem_here(row, problem_here) or "–"


def _reported(row: Any) -> list[LoadError]:
    return list(getattr(row, "reported_errors", ()))


def _problem_here(row: Any, problem_here: ProblemOf) -> str:
    """Return what this process finds, which says little about others, if no node can tell."""
    if getattr(row, "has_live_nodes", False) or not (problem := problem_here(row)):
        return ""
    return format_html("{} {}", gettext("In this process:"), shown_problem(problem))


def _attempts(error: LoadError) -> str:
    words = {
        "since": exact_time(error.since),
        "attempts": error.attempts,
        "next": exact_time(error.next_attempt_at),
    }
    if error.next_attempt_at is None:
        return gettext("Since %(since)s; only a change of the row helps.") % words
    return gettext("Since %(since)s; attempts: %(attempts)d, the next at %(next)s") % words
