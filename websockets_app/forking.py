"""Forked children: which of them the parent's threads and event loops don't exist in."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

ForgetT = TypeVar("ForgetT", bound=Callable[[], object])


def in_forked_child(forget: ForgetT) -> ForgetT:
    """Call `forget` in each child that this process forks, before any other code of the child.

    It replaces what only the parent's threads could use: nothing waits for a thread or a lock
    that no longer exists. It must close nothing, since the parent goes on using it.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=forget)
    return forget
