"""The life of a session, driven from both ends of the ASGI protocol."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import SCALE, aeventually
from websockets_app import websockets
from websockets_app.core.states import CloseCause
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.inbound.rows import Came
from websockets_app.inbound.serving import Serving, stop_serving
from websockets_app.models import Endpoint, Event, Session

Serve = Callable[..., Any]

CONTEXT = """
import asyncio
from websockets_app import websockets

seen = []

def look():
    return [
        websockets.get_method(), websockets.get_message(), websockets.get_error(),
        websockets.is_on_open(), websockets.is_on_message(), websockets.is_on_error(),
        websockets.is_on_close(), dict(websockets.get_params()), websockets.get_session().id,
    ]

def on_open():
    seen.append(look())

async def on_message(message):
    await asyncio.sleep(0)
    seen.append(await asyncio.to_thread(look))
    if message == "raise":
        raise ValueError("so it is")

def on_error(error):
    seen.append(look())

async def on_close():
    seen.append(look())
"""


async def flushed(serving: Serving) -> None:
    assert await serving.node.recorder.flush()


async def test_the_seeds_functions_tell_each_callback_about_itself(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("context", CONTEXT)
    await serve(**{"room/<slug:name>": {"handler": reference}})
    connection = Connection("room/x")
    await connection.connect()
    connection.send("hello")
    connection.send("raise")
    connection.leave()
    await connection.ended()
    import written_handlers.context as handler  # type: ignore[import-not-found]

    session = handler.seen[0][-1]
    params = {"name": "x"}
    assert handler.seen == [
        ["onopen", None, None, True, False, False, False, params, session],
        ["onmessage", "hello", None, False, True, False, False, params, session],
        ["onmessage", "raise", None, False, True, False, False, params, session],
        ["onerror", None, "ValueError: so it is", False, False, True, False, params, session],
        ["onclose", None, None, False, False, False, True, params, session],
    ]
    assert websockets.get_method() is websockets.get_message() is websockets.get_session() is None


async def test_two_sessions_at_once_never_see_each_others_context(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "apart",
        "import asyncio, time\n"
        "from websockets_app import websockets\n"
        "async def on_message():\n"
        "    before = websockets.get_message()\n"
        "    await asyncio.sleep(0.01)\n"
        "    later = await asyncio.create_task(asyncio.to_thread(websockets.get_message))\n"
        "    return f'{before} {later}'\n",
    )
    await serve(apart={"handler": reference})
    connections = [Connection("apart") for _ in range(20)]
    for connection in connections:
        await connection.connect()
    for number, connection in enumerate(connections):
        connection.send(f"message-{number}")
    for number, connection in enumerate(connections):
        answer = (await connection.next())["text"]
        assert answer == f"message-{number} message-{number}"
        connection.leave()
        await connection.ended()


async def test_a_task_that_a_callback_started_keeps_the_call_of_its_birth(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "lasting",
        "import asyncio\n"
        "from websockets_app import websockets\n"
        "go, tasks = asyncio.Event(), []\n"
        "async def later(session):\n"
        "    await go.wait()\n"
        "    await session.asend_text(websockets.get_message())\n"
        "async def on_message(message, session):\n"
        "    if message == 'first':\n"
        "        tasks.append(asyncio.create_task(later(session)))\n"
        "    else:\n"
        "        go.set()\n",
    )
    await serve(lasting={"handler": reference})
    connection = Connection("lasting")
    await connection.connect()
    connection.send("first")
    connection.send("second")
    assert (await connection.next())["text"] == "first"
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize(
    ("returned", "frame"),
    [
        ("'text'", {"text": "text"}),
        ("b'\\x00'", {"bytes": b"\x00"}),
        ("{'a': [1, None]}", {"text": '{"a":[1,null]}'}),
        ("[1, 'ü']", {"text": '[1,"ü"]'}),
        ("''", {"text": ""}),
    ],
)
async def test_what_a_callback_returns_is_sent(
    serve: Serve, write_handler: WriteHandler, returned: str, frame: dict[str, Any]
) -> None:
    source = (
        f"def on_open():\n    return {returned}\nasync def on_message():\n    return {returned}"
    )
    await serve(returns={"handler": write_handler("returns", source)})
    connection = Connection("returns")
    await connection.connect()
    assert await connection.next() == {"type": "websocket.send", **frame}
    connection.send("x")
    assert await connection.next() == {"type": "websocket.send", **frame}
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize(
    "returned", ["1", "object()", "True", "(1, 2)", "'\\ud800'", "{1: object()}"]
)
async def test_what_cannot_be_sent_is_a_handler_error(
    serve: Serve, write_handler: WriteHandler, returned: str
) -> None:
    source = (
        f"def on_message(message):\n    return {returned} if message == 'x' else message\n"
        "def on_error(error):\n    pass"
    )
    serving = await serve(returns={"handler": write_handler("unsendable", source)})
    connection = Connection("returns")
    await connection.connect()
    connection.send("x")
    connection.send("goes on")
    assert (await connection.next())["text"] == "goes on"
    connection.leave()
    await connection.ended()
    await flushed(serving)
    assert (
        await Event.objects.filter(kind="error", detail__startswith="on_message: ").acount() == 1
    )


@pytest.mark.parametrize(
    "raised",
    [
        "SystemExit(3)",
        "KeyboardInterrupt()",
        "StopIteration()",
        "asyncio.CancelledError()",
        "ExceptionGroup('g', [OSError()])",
    ],
)
@pytest.mark.parametrize("form", ["def", "async def"])
async def test_nothing_that_a_callback_raises_escapes(
    serve: Serve, write_handler: WriteHandler, raised: str, form: str
) -> None:
    source = (
        f"import asyncio\n{form} on_message(message):\n"
        f"    if message == 'x':\n        raise {raised}\n    return message"
    )
    serving = await serve(fails={"handler": write_handler("fails", source)})
    connection = Connection("fails")
    await connection.connect()
    connection.send("x")
    connection.send("goes on")
    assert (await connection.next())["text"] == "goes on"
    connection.leave()
    await connection.ended()
    await flushed(serving)
    assert await Event.objects.filter(kind="error").acount() == 1
    assert (await Session.objects.aget()).close_cause == "peer"


async def test_the_first_of_the_rows_subprotocols_that_the_peer_offers_is_chosen(
    serve: Serve,
) -> None:
    await serve(echo={"handler": "handlers.echo", "subprotocols": ["v2", "v1"]})
    for offered, chosen in ((["v1", "v2"], "v2"), (["v1"], "v1"), (["v3"], None), ([], None)):
        connection = Connection("echo", subprotocols=offered)
        assert (await connection.connect())["subprotocol"] == chosen
        connection.leave()
        await connection.ended()


async def test_a_callback_can_close_its_own_session(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "leaves",
        "closed = []\n"
        "def on_message(session):\n"
        "    assert session.close(4321, 'enough') == 'written'\n"
        "    assert session.closed\n"
        "    assert session.send_text('late') == 'gone'\n"
        "def on_close(code, reason):\n    closed.append((code, reason))\n",
    )
    serving = await serve(leaves={"handler": reference})
    connection = Connection("leaves")
    await connection.connect()
    connection.send("x")
    assert await connection.next() == {
        "type": "websocket.close", "code": 4321, "reason": "enough",
    }  # fmt: skip
    await connection.ended()
    import written_handlers.leaves as handler  # type: ignore[import-not-found]

    assert handler.closed == [(4321, "enough")]
    await flushed(serving)
    row = await Session.objects.aget()
    assert (row.close_code, row.close_code_sent, row.close_cause) == (4321, 4321, "handler")


async def test_a_session_can_be_written_to_and_closed_from_a_thread_by_its_handle(
    serve: Serve,
) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")
    await connection.connect()
    (session,) = serving.node.peers
    handle = WebsocketSession(session.id, here=True)
    assert await asyncio.to_thread(handle.send_text, "from a thread") == "written"
    assert (await connection.next())["text"] == "from a thread"
    handle.send_text_async("queued")
    assert (await connection.next())["text"] == "queued"
    assert await asyncio.to_thread(handle.close, 1000, "bye", cause=CloseCause.ADMIN) == "written"
    await connection.ended()
    assert handle.closed
    assert await handle.asend_text("late") == "gone"
    await flushed(serving)
    assert (await Session.objects.aget()).close_cause == "admin"


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_what_is_queued_goes_out_before_what_is_sent_after_it(
    serve: Serve, write_handler: WriteHandler, form: str
) -> None:
    reference = write_handler(
        "queues",
        f"{form} on_message(message, session):\n"
        "    session.send_text_async('1')\n"
        "    session.send_text_async('2')\n"
        "    return '3'\n"
        "async def on_open(session):\n"
        "    session.send_text_async('hello')\n",
    )
    leaving = write_handler(
        "leaves_words",
        "async def on_message(session):\n"
        "    session.send_text_async('goodbye')\n"
        "    await session.aclose(4000)\n",
    )
    await serve(queues={"handler": reference}, leaves={"handler": leaving})
    connection = Connection("queues")
    await connection.connect()
    connection.send("x")
    assert [(await connection.next())["text"] for _ in range(4)] == ["hello", "1", "2", "3"]
    connection.leave()
    await connection.ended()
    connection = Connection("leaves")
    await connection.connect()
    connection.send("x")
    assert (await connection.next())["text"] == "goodbye"
    assert (await connection.next())["code"] == 4000
    await connection.ended()


async def test_the_waiting_forms_refuse_to_block_the_loop_and_name_the_others(
    serve: Serve,
) -> None:
    from django.core.exceptions import SynchronousOnlyOperation

    handle = WebsocketSession("any")
    for call, other in (
        (lambda: handle.send_text("x"), "asend_text"),
        (lambda: handle.close(), "aclose"),
        (lambda: websockets.broadcast("g", "x"), "abroadcast"),
    ):
        with pytest.raises(SynchronousOnlyOperation, match=other):
            call()


async def test_a_server_that_gives_a_session_up_stops_and_it_still_gets_on_close(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "counts", "closed = []\ndef on_close(code):\n    closed.append(code)"
    )
    serving = await serve(counts={"handler": reference})
    connection = Connection("counts")
    await connection.connect()
    assert connection.task is not None
    connection.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connection.task
    import written_handlers.counts as handler  # type: ignore[import-not-found]

    await aeventually(lambda: handler.closed == [1001])
    await aeventually(lambda: not serving.node.peers)
    await flushed(serving)
    assert (await Session.objects.aget()).close_cause == "shutdown"


async def test_a_peer_that_leaves_before_it_is_accepted_was_never_a_session(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")

    async def refuse(event: dict[str, Any]) -> None:
        connection.sent.put_nowait(event)
        raise ConnectionResetError

    connection.send_to_peer = refuse
    await connection.connect()
    await connection.ended()
    await flushed(serving)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert not await Session.objects.aexists()
    assert not await Event.objects.exclude(peer="").aexists()


async def test_a_handler_that_cancels_its_own_task_closes_its_session_for_the_peer_too(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = (
        "import asyncio\nasync def on_message():\n"
        "    asyncio.current_task().cancel()\n    await asyncio.sleep(1)"
    )
    serving = await serve(cancels={"handler": write_handler("cancels", source)})
    connection = Connection("cancels")
    await connection.connect()
    connection.send("x")
    assert (await connection.next())["code"] == 1001
    await connection.ended()
    await flushed(serving)
    assert (await Session.objects.aget()).close_cause == CloseCause.HANDLER


async def test_draining_lets_a_running_callback_end_and_then_closes(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "lasts",
        "import asyncio\nlog = []\n"
        "async def on_message(message):\n"
        "    log.append('begun')\n    await asyncio.sleep(0.3)\n    log.append('ended')\n"
        "def on_close(code):\n    log.append(code)\n",
    )
    await serve(lasts={"handler": reference})
    connection = Connection("lasts")
    await connection.connect()
    connection.send("x")
    import written_handlers.lasts as handler  # type: ignore[import-not-found]

    await aeventually(lambda: handler.log == ["begun"])
    await stop_serving()
    assert handler.log == ["begun", "ended", 1001]
    row = await Session.objects.aget()
    assert (row.close_code, row.close_cause) == (1001, "shutdown")
    assert [event.kind async for event in Event.objects.filter(peer=row.pk).order_by("seq")] == [
        "open", "close",
    ]  # fmt: skip


async def refusal_of(connection: Connection) -> dict[str, Any]:
    answer = await connection.connect()
    await connection.ended()
    return answer


async def test_no_callback_waits_for_what_another_sessions_callback_does_in_sync_to_async(
    serve: Serve, write_handler: WriteHandler
) -> None:
    sessions = 4
    handler = write_handler(
        "blocking",
        "import threading\n"
        "from asgiref.sync import sync_to_async\n"
        f"together = threading.Barrier({sessions})\n"
        "async def meet():\n"
        f"    await sync_to_async(together.wait)({5 * SCALE})\n"
        "    return True\n"
        "async def may_open(): return await meet()\n"
        "async def on_open(): await meet()\n"
        "async def on_message(message):\n"
        "    await meet()\n"
        "    raise ValueError(message)\n"
        "async def on_error(): await meet()\n"
        "async def on_close(): await meet()\n",
    )
    serving = await serve(blocking={"handler": handler})
    connections = [Connection("blocking") for _ in range(sessions)]
    answers = await asyncio.gather(*(connection.connect() for connection in connections))
    assert [answer["type"] for answer in answers] == ["websocket.accept"] * sessions
    for connection in connections:
        connection.send("hello")
        connection.leave()
    await asyncio.gather(*(connection.ended() for connection in connections))
    assert not sys.modules[handler].together.broken
    await serving.node.recorder.flush()
    errors = [event.detail async for event in Event.objects.filter(kind="error")]
    assert [error.splitlines()[0] for error in errors] == [
        "on_message: ValueError: hello"
    ] * sessions


async def test_access_permission_and_groups_decide_who_enters(serve: Serve) -> None:
    permission = await Permission.objects.aget(codename="view_endpoint")
    group = await Group.objects.acreate(name="talkers")
    plain = await User.objects.acreate(username="plain")
    staff = await User.objects.acreate(username="staff", is_staff=True)
    allowed = await User.objects.acreate(username="allowed")
    await allowed.user_permissions.aadd(permission)
    member = await User.objects.acreate(username="member")
    await member.groups.aadd(group)
    grouped = await Endpoint.objects.acreate(endpoint="grouped", handler="handlers.echo")
    await grouped.groups.aadd(group)
    await serve(
        logged_in={"handler": "handlers.echo", "access": "authenticated"},
        staff={"handler": "handlers.echo", "access": "staff"},
        permitted={"handler": "handlers.echo", "permission": "websockets_app.view_endpoint"},
    )
    entered = {
        "logged_in": {plain, staff, allowed, member},
        "staff": {staff},
        "permitted": {allowed},
        "grouped": {member},
    }
    origin = [("origin", "http://testserver")]
    for path, users in entered.items():
        for user in (plain, staff, allowed, member):
            connection = Connection(path, user=user, headers=origin)
            answer = await connection.connect()
            expected = "websocket.accept" if user in users else "websocket.close"
            assert answer["type"] == expected, (path, user)
            connection.leave()
            await connection.ended()
        assert (await refusal_of(Connection(path, headers=origin)))["type"] == "websocket.close"


async def test_the_user_of_a_django_session_is_known_by_its_cookie(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    from django.test import AsyncClient

    reference = write_handler(
        "who", "def on_open(user):\n    return user.get_username() or 'nobody'"
    )
    await serve(who={"handler": reference})
    user = await User.objects.acreate(username="tom")
    client = AsyncClient()
    await client.aforce_login(user)
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    for cookie, name in ((f"a=b; sessionid={key}", "tom"), ("sessionid=forged", "nobody")):
        connection = Connection("who", headers=[("cookie", cookie)])
        await connection.connect()
        assert (await connection.next())["text"] == name
        connection.leave()
        await connection.ended()


async def test_a_cookie_that_no_session_can_have_is_nobody_s(serve: Serve) -> None:
    await serve(logged_in={"handler": "handlers.echo", "access": "authenticated"})
    nul = [("origin", "http://testserver"), ("cookie", r'sessionid="\000\000\000\000secretkey"')]
    connection = Connection("logged_in", headers=nul, extensions=["websocket.http.response"])
    assert await connection.status() == 403
    await connection.ended()


async def test_a_session_store_that_is_away_is_told_and_let_nobody_in(
    serve: Serve, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSION_ENGINE = "no.such.engine"
    await serve(
        logged_in={"handler": "handlers.echo", "access": "authenticated"},
        public={"handler": "handlers.echo"},
    )
    headers = [("origin", "http://testserver"), ("cookie", "sessionid=0123456789")]
    answer = await refusal_of(
        Connection("logged_in", headers=headers, extensions=["websocket.http.response"])
    )
    assert answer["status"] == 503
    assert "No user can be known" in caplog.text
    public = Connection("public", headers=headers)
    assert (await public.connect())["type"] == "websocket.accept"
    public.leave()
    await public.ended()


async def test_a_user_enters_while_every_thread_for_handlers_is_taken(
    serve: Serve, write_handler: WriteHandler, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "SYNC_THREADS": 1}
    source = (
        "import threading\nbegun, release = threading.Event(), threading.Event()\n"
        "def on_message():\n    begun.set()\n    release.wait(10)"
    )
    await serve(
        blocks={"handler": write_handler("blocks", source)},
        logged_in={"handler": "handlers.echo", "access": "authenticated"},
    )
    import written_handlers.blocks as handler

    blocked = Connection("blocks")
    await blocked.connect()
    blocked.send("x")
    await aeventually(handler.begun.is_set)
    user = await User.objects.acreate(username="tom")
    entering = Connection("logged_in", user=user, headers=[("origin", "http://testserver")])
    try:
        assert (await entering.connect())["type"] == "websocket.accept"
    finally:
        handler.release.set()
    for connection in (blocked, entering):
        connection.leave()
        await connection.ended()


@pytest.mark.parametrize(
    ("answer", "accepted", "code"),
    [("True", True, None), ("False", False, 4403), ("4429", False, 4429), ("1005", False, 4403),
     ("None", False, 4403), ("'yes'", False, 4403)],
)  # fmt: skip
@pytest.mark.parametrize("form", ["def", "async def"])
async def test_may_open_decides_by_true_false_or_a_close_code(
    serve: Serve,
    write_handler: WriteHandler,
    settings: Settings,
    answer: str,
    accepted: bool,
    code: int | None,
    form: str,
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "REFUSE_WITH": "close"}
    source = (
        f"{form} may_open(user, params, session):\n"
        f"    assert params == {{'n': 1}} and session.id\n    return {answer}\n"
        "def on_message(message):\n    return message"
    )
    await serve(**{"door/<int:n>": {"handler": write_handler("door", source)}})
    connection = Connection("door/1")
    assert (await connection.connect())["type"] == "websocket.accept"
    if accepted:
        connection.send("x")
        assert (await connection.next())["text"] == "x"
        connection.leave()
    else:
        assert await connection.next() == {"type": "websocket.close", "code": code}
    await connection.ended()


async def test_a_server_with_denial_responses_is_told_the_status(serve: Serve) -> None:
    await serve(broken={"handler": "handlers.nowhere"})
    for path, status in (("unknown", 404), ("broken", 503)):
        connection = Connection(path, extensions=["websocket.http.response"])
        answer = await connection.connect()
        assert (answer["type"], answer["status"]) == ("websocket.http.response.start", status)
        body = await connection.next()
        assert body == {"type": "websocket.http.response.body", "body": b""}
        await connection.ended()


async def test_counters_of_an_open_session_reach_its_row_now_and_then(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websockets_app.recording.recorder.COLLECT_SECONDS", 0.1)
    await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")
    await connection.connect()
    connection.send("four")
    await connection.next()

    async def counted() -> bool:
        return await Session.objects.filter(closed_at=None, messages_in=1, bytes_out=4).aexists()

    await aeventually(counted)
    connection.leave()
    await connection.ended()


async def test_a_disabled_endpoint_closes_its_sessions_and_refuses_new_ones(serve: Serve) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    connection = Connection("echo")
    await connection.connect()
    await Endpoint.objects.aupdate(enabled=False)
    assert (await connection.next())["code"] == 1001
    await connection.ended()
    assert (await refusal_of(Connection("echo")))["type"] == "websocket.close"
    await flushed(serving)
    assert (await Session.objects.aget()).close_cause == "config"


async def test_a_change_of_the_description_alone_disturbs_nobody(serve: Serve) -> None:
    serving = await serve(echo={"handler": "handlers.echo", "on_change": "close"})
    connection = Connection("echo")
    await connection.connect()
    await Endpoint.objects.aupdate(description="new words")
    await Endpoint.objects.acreate(endpoint="later", handler="handlers.echo")
    await aeventually(lambda: len(serving.registry) == 2)
    connection.send("still here")
    assert (await connection.next())["text"] == "still here"
    connection.leave()
    await connection.ended()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"handler": "handlers.nowhere"}, "No module 'handlers.nowhere'."),
        ({"handler": "os.path"}, "'os.path' may not be imported"),
        ({"origins": "*"}, "Its origins are no JSON list."),
        ({"subprotocols": "v1"}, "Its subprotocols are no JSON list."),
    ],
    ids=["missing", "not allowed", "origins", "subprotocols"],
)
async def test_a_row_that_can_not_serve_is_recorded_refuses_and_leaves_the_others_alone(
    serve: Serve, fields: dict[str, Any], problem: str
) -> None:
    serving = await serve(
        broken={"handler": "handlers.echo", **fields}, echo={"handler": "handlers.echo"}
    )
    refused = await refusal_of(Connection("broken", headers=[("origin", "https://evil.example")]))
    assert refused == {"type": "websocket.close"}
    assert (await Connection("echo").connect())["type"] == "websocket.accept"
    await flushed(serving)
    about = Event.objects.filter(name="broken").order_by("id")
    (told, why) = [event async for event in about]
    assert (told.kind, why.kind) == ("problem", "refused")
    assert told.detail.startswith(problem)
    assert told.detail in why.detail


async def test_a_path_that_can_not_be_served_is_recorded(serve: Serve) -> None:
    serving = await serve(**{"a//b": {"handler": "handlers.echo"}})
    await flushed(serving)
    told = await Event.objects.aget(kind="problem")
    assert "no empty part" in told.detail


async def test_members_of_a_group_hear_a_broadcast_until_they_leave(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler(
        "group",
        "from websockets_app import websockets\n"
        "def on_open(session):\n    session.join('Grüße ☃')\n    return 'joined'\n"
        "def on_message(message, session):\n"
        "    if message == 'leave':\n        session.leave('Grüße ☃')\n"
        "    return str(websockets.broadcast('Grüße ☃', {'said': message}))\n",
    )
    serving = await serve(group={"handler": reference})
    first, second = Connection("group"), Connection("group")
    for connection in (first, second):
        await connection.connect()
        assert (await connection.next())["text"] == "joined"
    first.send("hello")
    assert (await second.next())["text"] == '{"said":"hello"}'
    assert (await first.next())["text"] == '{"said":"hello"}'
    assert (await first.next())["text"] == "2"
    second.send("leave")
    assert (await second.next())["text"] == "1"
    assert (await first.next())["text"] == '{"said":"leave"}'
    first.leave()
    await first.ended()
    assert await serving.node.peers.fan_out("Grüße ☃", "anybody?") == 0
    second.leave()
    await second.ended()


async def test_a_session_has_no_dict_which_would_take_a_kib(
    serve: Serve, write_handler: WriteHandler
) -> None:
    echo = "async def on_message(message):\n    return message\n"
    serving = await serve(echo={"handler": write_handler("echo", echo)})
    connection = Connection("echo")
    await connection.connect()
    connection.send("hello")
    assert (await connection.next())["text"] == "hello"
    [session] = serving.node.peers
    assert vars(session) == {}
    connection.leave()
    await connection.ended()


QUEUES = """
def on_message(message, session):
    for number in range(50):
        session.send_text_async(str(number))
    session.send_text("last")
"""


async def test_what_a_plain_callback_sends_arrives_in_order_whichever_way_it_was_sent(
    serve: Serve, write_handler: WriteHandler
) -> None:
    await serve(echo={"handler": write_handler("queues", QUEUES)})
    connection = Connection("echo")
    await connection.connect()
    expected = [*map(str, range(50)), "last"]
    for _ in range(20):
        connection.send("go")
        await asyncio.sleep(0)
        time.sleep(0.005)  # noqa: ASYNC251 - the loop is busy while the callback sends
        assert [(await connection.next())["text"] for _ in expected] == expected
    connection.leave()
    await connection.ended()


async def test_a_code_of_another_type_of_number_is_recorded_as_a_number(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = "async def on_message(message, session):\n    await session.aclose(4000.0)\n"
    serving = await serve(echo={"handler": write_handler("closes", source)})
    connection = Connection("echo")
    await connection.connect()
    connection.send("go")
    closed = await connection.next()
    assert (closed["type"], repr(closed["code"])) == ("websocket.close", "4000")
    await connection.ended()
    await flushed(serving)
    assert (await Event.objects.aget(kind="close")).code == 4000


async def test_who_can_not_be_made_a_session_takes_no_seat(
    serve: Serve, write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Came:
        raise RuntimeError("a value of a site's own converter")

    serving = await serve(echo={"handler": write_handler("queues", QUEUES), "max_sessions": 1})
    with monkeypatch.context() as patch:
        patch.setattr(Came, "of", fail)
        failing = Connection("echo")
        failing.begin()
        with pytest.raises(RuntimeError, match="converter"):
            await failing.ended()
    assert not serving.limits.seats._taken
