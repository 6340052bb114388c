"""What a callback raised, as it is told: without the secrets of what it was given."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cached_property

from ..core.call import Call
from ..core.exception_texts import text_of, with_texts
from ..core.text import tame
from ..redaction import TEXT_LIMIT, redactor
from .loader import Callback


@dataclass(frozen=True)
class Failure:
    """An exception of a callback. Its texts are made when something asks for them."""

    callback: Callback
    call: Call
    error: BaseException

    @cached_property
    def shown(self) -> BaseException:
        """The exception with its traceback, for logs and events."""
        call = self.call
        hide = redactor().error_text(call.message or call.reason, call.params)
        return with_texts(self.error, lambda text: tame(hide(text), TEXT_LIMIT))

    @property
    def text(self) -> str:
        """The exception in one line."""
        return f"{type(self.error).__name__}: {text_of(self.shown)}"

    @property
    def detail(self) -> str:
        """The callback, the exception and its traceback, for an event."""
        trace = "".join(traceback.format_exception(self.shown))
        return f"{self.callback.name}: {self.text}\n\n{trace}"

    @property
    def kind(self) -> str:
        """What errors that are counted together have in common."""
        return f"{self.callback.name} {type(self.error).__qualname__} {self._place()}"

    def _place(self) -> str:
        """Return the file and line that raised."""
        trace = self.error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
