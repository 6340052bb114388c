"""Columns of text, in the width that there is."""

from __future__ import annotations

from websockets_app.core.table import aligned, breadth, cut, table

COLUMNS = {
    "NAME": ["one", "eleven"],
    "PLACE": ["a very long street in a very small town", "here"],
    "WHY": ["because somebody wanted it so", ""],
}


def test_cells_stand_below_each_other_and_lines_end_with_their_text() -> None:
    assert aligned([("a", "1", "x"), ("bbb", "22", "")]) == ["a    1   x", "bbb  22"]
    assert aligned([]) == []


def test_a_table_is_as_wide_as_it_needs() -> None:
    heading, first, second = table(COLUMNS, 200)
    assert heading == "NAME    PLACE                                    WHY"
    assert first.endswith("town  because somebody wanted it so")
    assert second == "eleven  here"


def test_the_last_column_is_cut_where_there_is_no_room() -> None:
    lines = table(COLUMNS, 60)
    assert lines[1] == "one     a very long street in a very small town  because so…"
    assert all(breadth(line) <= 60 for line in lines)


def test_spare_columns_go_before_the_last_one_gets_too_narrow() -> None:
    assert table(COLUMNS, 60, ["PLACE"])[1] == "one     because somebody wanted it so"
    assert "PLACE" in table(COLUMNS, 80, ["PLACE"])[0]


def test_characters_that_take_two_columns_or_none_are_counted_so() -> None:
    assert breadth("価格") == 4
    assert breadth("e\u0301") == 1
    assert aligned([("価格", "x"), ("ab", "y")]) == ["価格  x", "ab    y"]
    assert cut("価格フィード", 6) == "価格…"


def test_nothing_is_wider_than_no_width() -> None:
    assert [cut("abc", width) for width in (3, 2, 1, 0)] == ["abc", "a…", "…", ""]
