"""Handlers see the user as the last poll has read the row, not as the handshake did."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils.functional import SimpleLazyObject

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.people import ORIGIN, log_in
from websockets_app.inbound.successor import has_changed, successor

Serve = Callable[..., Any]

HANDLER = """
from asgiref.sync import sync_to_async
from websockets_app import websockets

seen = []

{form} on_message(message, user, session):
    seen.append(user)
    assert session.user is user is websockets.get_session().user
    return f"{{user.first_name}}, {{user.has_perm('auth.view_group') if {ask} else None}}"
"""
FORMS = {
    "async def": HANDLER.format(form="async def", ask=False),
    "def": HANDLER.format(form="def", ask=True),
}


async def said(connection: Connection) -> str:
    connection.send("who am I?")
    answer: str = (await connection.next())["text"]
    return answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("access", ["authenticated", "public"])
async def test_a_callback_gets_the_user_as_the_last_poll_read_the_row(
    serve: Serve, write_handler: WriteHandler, form: str, access: str
) -> None:
    handler = write_handler("who", FORMS[form])
    serving = await serve(who={"handler": handler, "access": access})
    ann = await log_in("ann", first_name="Ann")
    first, second = await ann.enter("who"), await ann.enter("who")
    assert (await said(first)).startswith("Ann")
    await serving.revocation.poll()
    seen = sys.modules[handler].seen
    await said(first)
    if form == "async def":
        assert seen[0] is seen[1]  # the same object, as long as nothing has changed
    await ann.change(first_name="Anna")
    await serving.revocation.poll()
    assert (await said(first)).startswith("Anna")
    assert (await said(second)).startswith("Anna")
    assert seen[-1] == seen[0]
    assert seen[-1] is not seen[-2]  # each session has its own


async def test_a_callback_asks_for_permissions_as_the_last_poll_left_them(
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(who={"handler": write_handler("who", FORMS["def"])})
    ann = await log_in("ann")
    connection = await ann.enter("who")
    assert await said(connection) == ", False"
    await ann.user.user_permissions.aadd(await Permission.objects.aget(codename="view_group"))
    await serving.revocation.poll()
    assert await said(connection) == ", True"


async def test_what_a_middleware_added_to_its_user_stays(
    serve: Serve, write_handler: WriteHandler
) -> None:
    handler = write_handler("who", FORMS["async def"])
    serving = await serve(who={"handler": handler})
    await User.objects.acreate(username="ann")
    connections = []
    for claim in ("first", "second", ""):
        user: Any = await User.objects.aget()
        if claim:
            user.claim = claim
        lazy = SimpleLazyObject(lambda user=user: user)
        connections.append(Connection("who", user=lazy, headers=[ORIGIN]))
        await connections[-1].connect()
    await User.objects.aupdate(first_name="Anna")
    await serving.revocation.poll()
    for connection in connections:
        assert (await said(connection)).startswith("Anna")
    seen = sys.modules[handler].seen
    assert [getattr(user, "claim", "") for user in seen] == ["first", "second", ""]


def test_an_unchanged_user_is_kept_and_caches_are_not() -> None:
    def user(**fields: Any) -> Any:
        return User(pk=1, username="ann", **fields)

    before, row = user(), user()
    row.date_joined = before.date_joined
    assert not has_changed(before, row)
    before.claim = "kept"
    assert not has_changed(before, row)
    before._perm_cache = {"auth.view_group"}
    assert has_changed(before, row)
    new = successor(before, row, False)
    assert new.claim == "kept"
    assert not hasattr(new, "_perm_cache")
    assert not hasattr(row, "claim")
