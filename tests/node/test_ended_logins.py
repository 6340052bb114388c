"""Logins that ended are remembered for a while, within bounds."""

from __future__ import annotations

from websockets_app.node.ended_logins import MAX_ID, MAX_LOGINS, REMEMBER_SECONDS, EndedLogins


def test_an_ended_login_is_forgotten_after_a_while() -> None:
    now = 100.0
    ended = EndedLogins(lambda: now)
    ended.add("tom")
    assert "tom" in ended
    assert "jerry" not in ended
    now += REMEMBER_SECONDS
    assert "tom" not in ended


def test_a_flood_of_ended_logins_replaces_the_oldest() -> None:
    ended = EndedLogins()
    ended.add("oldest")
    ended.add("older")
    ended.add("oldest")  # again, so it is the latest now
    for number in range(MAX_LOGINS - 1):
        ended.add(str(number))
    assert len(ended) == MAX_LOGINS
    assert "oldest" in ended
    assert "older" not in ended


def test_an_id_that_no_login_has_is_not_remembered() -> None:
    ended = EndedLogins()
    ended.add("")
    ended.add("x" * (MAX_ID + 1))
    assert len(ended) == 0
