"""A session's life, whatever happens in whatever order: legal callbacks, one end, a closed row.

More examples, and so more time: ``HYPOTHESIS_PROFILE=thorough pytest tests/inbound/test_life.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inbound.conftest import WriteHandler
from tests.inbound.life import FLAGS, INBOX, MESSAGES, SOURCES, STEPS, TOO_BIG, Life, Plan
from tests.inbound.people import Person
from websockets_app.dispatch import loader
from websockets_app.inbound import server
from websockets_app.models import Endpoint

LONGEST = 10

PLANS = st.builds(
    Plan,
    form=st.sampled_from(list(SOURCES)),
    flags=st.frozensets(st.sampled_from(FLAGS), max_size=3),
    on_change=st.sampled_from(["keep", "drain", "close"]),
    on_handler_error=st.sampled_from(["continue", "close"]),
    record_messages=st.sampled_from(["counters", "rows"]),
    steps=st.lists(
        st.tuples(st.sampled_from([*MESSAGES, *STEPS]), st.sampled_from([0, 1, 2, 5, 20])),
        max_size=LONGEST,
    ),
)


@pytest.fixture
def handlers(write_handler: WriteHandler) -> dict[str, ModuleType]:
    """The handler's module, by the form of its callbacks."""
    references = {form: write_handler(form, source) for form, source in SOURCES.items()}
    for reference in references.values():
        loader.load("python", reference)
    return {form: sys.modules[reference] for form, reference in references.items()}


@pytest.mark.timeout(3600)  # of the thorough profile; the default one takes some seconds
@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=PLANS)
async def test_callbacks_come_in_order_and_one_end_is_recorded_whatever_happens(
    serve: Callable[..., Any],
    handlers: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    plan: Plan,
) -> None:
    monkeypatch.setattr(server, "CLOSE_SECONDS", 0.02)  # for peers that don't read
    handler = handlers[plan.form]
    path = f"life{next(NUMBERS)}"
    await Endpoint.objects.acreate(
        endpoint=path,
        handler=handler.__name__,
        access="public",
        allow_missing_origin=True,
        max_message_size=TOO_BIG,
        inbox_messages=INBOX,
        on_change=plan.on_change,
        on_handler_error=plan.on_handler_error,
        record_messages=plan.record_messages,
    )
    life = Life(plan, path, handler, await somebody(path) if plan.knows_user else None)
    await life.begin()
    for step, turns in plan.steps:
        await life.take(step)
        for _ in range(turns):
            await asyncio.sleep(0)
    await life.end()
    await life.check()


NUMBERS = itertools.count()


async def somebody(name: str) -> Person:
    """Return a user who has logged in."""
    user = await User.objects.acreate(username=name)
    browser = AsyncClient()
    await browser.aforce_login(user)
    return Person(user, browser)
