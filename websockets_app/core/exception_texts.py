"""Replace the texts of an exception and of all that it is chained to, and keep its traceback."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

_MOST: Final = 20
"""How many causes and contexts are kept one after the other, and how many members of a group."""


class _StandIn(BaseException):
    """Is shown as another exception would be, but with another text."""

    text = ""

    def __str__(self) -> str:
        return self.text


def with_texts(error: BaseException, replace: Callable[[str], str]) -> BaseException:
    """Return a stand-in for `error` with the texts that `replace` returns for its own.

    It has the name, module, traceback, notes, causes and members of `error`, so that whatever
    formats exceptions shows it as it would show `error`.
    """
    return _Replacement(replace).of(error)


def text_of(error: BaseException) -> str:
    """Return the text of `error`; its own code, which makes the text, may raise."""
    try:
        return str(error)
    except Exception:
        return "<its text can't be read>"


class _Replacement:
    """Makes each stand-in once: exceptions may be chained in a circle."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        self._replace = replace
        self._made: dict[int, BaseException] = {}

    def of(self, error: BaseException, most: int = _MOST) -> BaseException:
        if (known := self._made.get(id(error))) is not None:
            return known
        made = self._made[id(error)] = self._stand_in(error, most)
        if most:
            if error.__cause__ is not None:
                made.__cause__ = self.of(error.__cause__, most - 1)
            elif error.__context__ is not None and not error.__suppress_context__:
                made.__context__ = self.of(error.__context__, most - 1)
        made.__suppress_context__ = error.__suppress_context__
        return made

    def _stand_in(self, error: BaseException, most: int) -> BaseException:
        arguments: tuple[Any, ...] = ()
        if isinstance(error, BaseExceptionGroup) and most:
            members = [self.of(member, most - 1) for member in error.exceptions[:_MOST]]
            arguments = ("", members)
        kind: Any = type(error)
        made = _type_like(kind, is_group=bool(arguments))(*arguments)
        made.text = self._replace(text_of(error))
        made.__traceback__ = error.__traceback__
        notes = getattr(error, "__notes__", None)
        for note in notes if isinstance(notes, list) else ():
            made.add_note(self._replace(str(note)))
        return made


@lru_cache(maxsize=256)
def _type_like(kind: Any, *, is_group: bool) -> type[_StandIn]:
    bases = (_StandIn, BaseExceptionGroup) if is_group else (_StandIn,)
    return type(
        kind.__name__, bases, {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    )
