"""A batch is written in one transaction, and writing it again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from tests.recording.rows import session_row
from websockets_app.core.states import EventKind
from websockets_app.models import Event, Minute, Session
from websockets_app.models.minute import COUNTERS
from websockets_app.recording.facts import Fact, SessionRow, moment, storable
from websockets_app.recording.insertion import ROWS_A_STATEMENT, Insertion, Row, clock
from websockets_app.recording.minutes import MinuteKey
from websockets_app.recording.tables import EVENTS, event_rows
from websockets_app.recording.writer import Batch, write, write_all_but_refused

pytestmark = pytest.mark.django_db

AT = 1_900_000_000.25


def fact(seq: int, **columns: Any) -> Fact:
    return Fact(**{"kind": EventKind.OPEN, "at": AT, "seq": seq, "peer": "p", **columns})


def session(name: str = "s", **columns: Any) -> SessionRow:
    return session_row(name, moment(AT), **columns)


def batch(*facts: Fact, sessions: list[SessionRow] | None = None, minutes: int = 0) -> Batch:
    return Batch(
        node_id="node",
        facts=[*facts],
        sessions={row["id"]: row for row in sessions or []},
        minutes={
            MinuteKey("in", number, 1_900_000_020): (1,) * len(COUNTERS)
            for number in range(minutes)
        },
    )


def everything() -> list[Any]:
    models = (Event, Session, Minute)
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def test_a_batch_that_is_written_twice_changes_nothing() -> None:
    whole = batch(fact(1), fact(2, peer=""), sessions=[session()], minutes=2)
    write(whole)
    before = everything()
    write(whole)
    assert everything() == before
    assert [len(rows) for rows in before] == [2, 1, 2]


def test_a_batch_costs_the_same_few_queries_whatever_its_size(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    rows = [session(str(number)) for number in range(20)]
    with django_assert_num_queries(6):  # savepoint, the node's row, three inserts, release
        write(batch(*map(fact, range(30)), sessions=rows, minutes=3))
    messages = [fact(number, kind=EventKind.MESSAGE) for number in range(30, 60)]
    with django_assert_num_queries(3):  # no end of a session: the node's row doesn't matter
        write(batch(*messages))


def test_an_event_keeps_its_time_and_all_its_columns() -> None:
    write(
        batch(
            fact(
                3, kind=EventKind.CLOSE, direction="in", endpoint_id=7, name="echo", code=1001,
                cause="shutdown", detail="bye",
            )
        )
    )  # fmt: skip
    event = Event.objects.get()
    assert (event.at, event.kind, event.code, event.cause) == (
        moment(AT), "close", 1001, "shutdown",
    )  # fmt: skip
    assert (event.node_id, event.peer, event.seq, event.name) == ("node", "p", 3, "echo")


def test_a_session_s_row_is_written_over_its_older_self() -> None:
    write(batch(sessions=[session(messages_in=1)]))
    closed = {"closed_at": moment(AT + 1), "close_cause": "peer", "close_code": 1000}
    write(batch(sessions=[session(messages_in=5, **closed)]))
    row = Session.objects.get()
    assert (row.messages_in, row.close_cause, row.close_code) == (5, "peer", 1000)
    assert row.opened_at == moment(AT)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_session_keeps_all_its_columns(is_closed: bool) -> None:
    """Whatever is in them, and however the database and its driver want it to be told."""
    closed = {
        "closed_at": moment(AT + 0.123456), "close_cause": "peer", "close_code": 4999,
        "close_code_sent": 1000, "close_reason": "it's %s \\ \"over\"",
    }  # fmt: skip
    row = session(
        params={"☃": ["%s", None, 1.5, {"is": True}], "'": '"', "\\u0041": "\\n"},
        path="/\U0001f600/\\x41?%s='\"", username="Zoë", bytes_in=2**62, messages_out=2**31,
        **(closed if is_closed else {}),
    )  # fmt: skip
    write(batch(sessions=[row]))
    assert Session.objects.values().get() == row

    write(batch(sessions=[row | {"bytes_out": 7}, session("other")]))
    assert Session.objects.values().get(pk=row["id"]) == row | {"bytes_out": 7}


def test_a_session_that_was_closed_as_lost_is_opened_again_by_its_node() -> None:
    open_row = {"closed_at": None, "close_cause": "", "close_code": None, "close_reason": ""}
    write(batch(sessions=[session(**open_row)]))
    Session.objects.close_lost("node", timezone.now(), 1006)
    write(batch(sessions=[session(**open_row)]))
    assert Session.objects.get().is_open


@pytest.mark.parametrize(
    "poison",
    [
        {"kind": "no such kind"},
        {"cause": "no such cause"},
        {"detail": None},
        {"code": 10**30},
        {"at": float("nan")},
        {"seq": None},
    ],
)
def test_a_row_that_the_database_refuses_is_dropped_alone_and_counted(
    poison: dict[str, Any],
) -> None:
    facts = [fact(seq) for seq in range(1, 20)]
    facts[7] = fact(8)._replace(**poison)
    whole = batch(*facts, sessions=[session()], minutes=2)
    assert write_all_but_refused(whole) == 1
    kept = list(Event.objects.order_by("pk").values_list("seq", flat=True))
    assert kept == [seq for seq in range(1, 20) if seq != 8]
    assert Session.objects.count() == 1
    assert Minute.objects.count() == 2


def test_a_session_that_is_refused_takes_no_event_along() -> None:
    poisoned = session("bad", close_cause="peer")  # but not closed
    rows = [session("good"), poisoned, session("fine")]
    assert write_all_but_refused(batch(fact(1), fact(2), sessions=rows)) == 1
    assert set(Session.objects.values_list("pk", flat=True)) == {"good", "fine"}
    assert Event.objects.count() == 2


def test_a_gap_that_is_refused_takes_its_count_along() -> None:
    gap = fact(1, kind=EventKind.GAP, lost=50, cause="no such cause")
    assert write_all_but_refused(batch(gap, fact(2))) == 50


def test_the_log_names_what_was_dropped_and_not_what_a_peer_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = fact(1, kind=EventKind.MESSAGE, payload="secret", cause="no such cause")
    write_all_but_refused(batch(bad))
    [record] = [r for r in caplog.records if r.name == "websockets_app.recording.writer"]
    assert record.getMessage() == "A row can't be written and is dropped: message"
    assert "secret" not in record.getMessage()


def test_of_a_batch_that_is_refused_nothing_stays_behind() -> None:
    with pytest.raises(IntegrityError):
        write(batch(fact(1), fact(2, kind="no such kind"), sessions=[session()]))
    assert everything() == [[], [], []]


def test_rows_that_are_there_already_are_left_and_those_that_are_not_refused_with_them() -> None:
    EVENTS.upsert(event_rows("node", [fact(1, detail="first")]))
    again = fact(1, detail="second")
    EVENTS.upsert(event_rows("node", [again, fact(2)]))
    with pytest.raises(IntegrityError), transaction.atomic():
        EVENTS.upsert(event_rows("node", [again, fact(3), fact(4, kind="no such kind")]))
    found = Event.objects.order_by("seq").values_list("seq", "detail")
    assert list(found) == [(1, "first"), (2, "")]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps such a journal")
def test_sqlite_need_not_copy_the_pages_that_events_change_to_undo_a_statement() -> None:
    programs: list[list[tuple[Any, ...]]] = []

    def explain(execute: object, sql: str, params: Any, many: bool, context: object) -> None:
        found = connection.connection.execute("EXPLAIN " + sql.replace("%s", "?"), params[0])
        programs.append(found.fetchall())

    with connection.execute_wrapper(explain):
        EVENTS.upsert(event_rows("node", map(fact, range(ROWS_A_STATEMENT))))
    [program] = programs
    fail = 3  # how `Halt` ends a statement: 2 would be "abort", which undoes it
    halts = {how for _, operation, failed, how, *_ in program if "Halt" in operation and failed}
    assert halts == {fail}


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "\0\ud800grüße"])
def test_text_that_databases_refuse_is_kept_as_far_as_it_can_be(text: str) -> None:
    row = session(path=text, params={"room": text}, username=text)
    assert write_all_but_refused(batch(fact(1, detail=text, payload=text), sessions=[row])) == 0
    kept = storable(text)
    assert Event.objects.get().detail == Event.objects.get().payload == kept
    assert Session.objects.get().params == {"room": kept}
    assert Session.objects.get().username == kept


@given(st.text(st.characters(codec=None)))
def test_whatever_the_text_it_can_be_stored_and_is_as_long_as_before(text: str) -> None:
    kept = storable(text)
    kept.encode()
    assert "\0" not in kept
    assert len(kept) == len(text)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_parts_are_smaller_and_together_the_whole(facts: int, sessions: int, minutes: int) -> None:
    rows = [session(str(number)) for number in range(sessions)]
    whole = batch(*map(fact, range(facts)), sessions=rows, minutes=minutes)

    def leaves(part: Batch) -> list[Batch]:
        return [leaf for inner in part.parts() for leaf in leaves(inner)] or [part]

    found = leaves(whole)
    assert [fact for leaf in found for fact in leaf.facts] == whole.facts
    assert [key for leaf in found for key in leaf.sessions] == [*whole.sessions]
    assert [key for leaf in found for key in leaf.minutes] == [*whole.minutes]
    if facts + sessions + minutes:
        assert len(found) == facts + sessions + minutes


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL knows COPY")
def test_where_copy_is_refused_rows_are_inserted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(EVENTS), "can_copy", True)
    table = connection.ops.quote_name(Event._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE watched")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO watched")
        cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO watched")
        cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        cursor.execute(f"CREATE POLICY all_rows ON {table} USING (true) WITH CHECK (true)")
        cursor.execute("SET LOCAL ROLE watched")
    assert write_all_but_refused(batch(fact(1))) == 0
    assert write_all_but_refused(batch(fact(2))) == 0
    assert Event.objects.count() == 2


def test_a_database_that_takes_few_values_at_once_gets_shorter_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(connection.features), "max_query_params", 60)
    insertion = Insertion(Event, EVENTS.columns, unique=("peer", "node", "seq"), updated=("seq",))
    sizes: set[int] = set()

    def observe(execute: Any, sql: str, params: Any, many: bool, context: object) -> Any:
        sizes.update(map(len, params if many else [params]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(observe):
        insertion.upsert(event_rows("node", map(fact, range(20))))
    columns = len(EVENTS.columns)
    one_document = {1}
    assert sizes == (
        one_document if connection.vendor == "postgresql" else {3 * columns, 2 * columns}
    )
    assert Event.objects.count() == 20


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL knows COPY")
def test_events_are_copied_and_only_those_that_are_there_already_inserted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inserted: list[int] = []
    upsert = EVENTS.upsert

    def insert(rows: Sequence[Row]) -> None:
        inserted.append(len(rows))
        upsert(rows)

    monkeypatch.setitem(vars(EVENTS), "upsert", insert)
    write(batch(fact(1), fact(2)))
    assert inserted == []
    write(batch(fact(2), fact(3)))
    assert inserted == [2]
    assert Event.objects.count() == 3


@given(at=st.floats(0, 4e9))
@example(at=1_794_050_668.9587185)
@example(at=1_794_050_668.9999998)
def test_a_time_is_to_the_microsecond_what_django_makes_of_it(at: float) -> None:
    expected = connection.ops.adapt_datetimefield_value(moment(at))

    assert clock(connection)(at) == expected
