"""Text of others, made fit for a log line or a row."""

from __future__ import annotations


def can_be_stored(text: str) -> bool:
    """Return whether every database stores `text`: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def tame(text: str, limit: int = 200) -> str:
    """Return `text` with what isn't printable escaped, in `limit` characters at most.

    A peer's words must not begin a log line of their own, nor fill a page.
    """
    cut = text[:limit]
    shown = cut if cut.isprintable() else "".join(map(_escaped, cut))
    if len(text) <= limit and len(shown) <= limit:
        return shown
    return shown[: limit - 1] + "…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
