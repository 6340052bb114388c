"""Run a coroutine at once as far as it goes, and make a task only of what has to wait.

Most of what servers are asked to send is taken at once. A task for each of hundreds of members of
a group would cost more than the sending. Python 3.12 has eager tasks for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from types import CoroutineType, coroutine
from typing import Any


def start(work: Awaitable[None]) -> Awaitable[None] | None:
    """Run `work` until it waits; return what goes on with it, None where it has ended.

    What is returned may go on in another task, with another context: before it waits, `work` must
    not ask for the current task, as `asyncio.timeout` does, nor set a context variable.
    """
    if not isinstance(work, CoroutineType):  # as of a server that isn't written in Python
        return work
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _go_on(work, awaited)


@coroutine
def _go_on(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    try:
        while True:
            try:
                outcome = yield awaited
            except BaseException as error:
                awaited = work.throw(error)
            else:
                awaited = work.send(outcome)
    except StopIteration:
        return
