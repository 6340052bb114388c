"""Where two patterns match, the older row wins: which, and whether wholly."""

from __future__ import annotations

import pytest
from django.test.utils import CaptureQueriesContext

from websockets_app.models import Endpoint
from websockets_app.models.shadowing import Overlap, never_reached, overlap, shadows_of


@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        ("chat", "news", "none"),
        ("chat", "/websockets/v4/service/chat", "all"),
        ("chat/<slug:room>", "chat/kitchen", "all"),
        ("chat/kitchen", "chat/<slug:room>", "some"),
        ("chat/<slug:room>", "chat/<slug:name>", "all"),
        ("chat/<int:number>", "chat/<slug:name>", "some"),
        ("chat/<slug:name>", "chat/<int:number>", "all"),
        ("<str:one>", "<path:rest>", "some"),
        ("<path:rest>", "chat/<uuid:key>", "all"),
        ("<uuid:key>", "<slug:name>", "some"),
        ("<int:number>", "<uuid:key>", "none"),
        ("chat/kitchen/<int:n>", "chat/<slug:room>/<int:n>", "some"),
        ("chat/<slug:room>/talk", "chat/<slug:room>/hear", "none"),
        ("room-<int:n>", "<slug:name>", "some"),
        ("<path:rest>/end", "chat/<slug:room>/end", "all"),
        ("chat/<slug:room>/end", "<path:rest>", "some"),
        ("/elsewhere/<str:x>", "<str:x>", "none"),
        ("chat/<nope:x>", "chat/<slug:room>", "none"),
        ("<int:a>/<b>/<c>/<d>/<e>/<f>", "<slug:a>/<b>/<c>/<d>/<e>/<f>", "some"),
        ("<a>/<b>/<c>/<d>/<e>/<int:f>", "<a>/<b>/<c>/<d>/<e>/<slug:f>", "some"),
    ],
)
def test_overlap(older: str, newer: str, expected: str) -> None:
    assert overlap(older, newer) is Overlap(expected)


def create(*paths: str, **columns: object) -> list[Endpoint]:
    handler = {"handler": "handlers.echo", **columns}
    return [Endpoint.objects.create(endpoint=path, **handler) for path in paths]


@pytest.mark.django_db
def test_a_row_is_told_who_is_older_and_who_is_newer() -> None:
    oldest, row, newest = create("chat/<int:n>", "chat/<slug:room>", "chat/kitchen")
    create("chat/<path:rest>", enabled=False)
    shadows = shadows_of(row)
    assert [(shadow.endpoint, shadow.whole) for shadow in shadows.by] == [(oldest, False)]
    assert [(shadow.endpoint, shadow.whole) for shadow in shadows.over] == [(newest, True)]


@pytest.mark.django_db
def test_looking_costs_one_query(django_assert_num_queries: type[CaptureQueriesContext]) -> None:
    rows = create(*(f"chat/{number}" for number in range(20)))
    with django_assert_num_queries(1):
        shadows_of(rows[0])


@pytest.mark.django_db
def test_what_is_never_reached_is_found_with_what_hides_it() -> None:
    create("chat/kitchen", "news")
    pattern, hidden = create("chat/<slug:room>", "chat/cellar")
    assert list(never_reached(Endpoint.objects.all())) == [(hidden, pattern)]
