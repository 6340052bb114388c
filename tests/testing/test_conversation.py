"""A handler under test, without a server or a database: sync and async tests see the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import ModuleType

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.test import TestCase

from tests.inbound.conftest import WriteHandler
from tests.infrastructure.waiting import aeventually
from websockets_app import websockets
from websockets_app.exceptions import HandlerNotFound, InvalidResult
from websockets_app.node.node import nodes
from websockets_app.testing import AsyncConversation, Conversation

FORMS = ["def", "async def"]

CURIOUS = """
from websockets_app import websockets

def told():
    return [
        websockets.get_method(), websockets.get_message(), websockets.get_error(),
        dict(websockets.get_params()), websockets.get_session().direction,
    ]

seen = []

FORM on_open():
    seen.append(told())

FORM on_message(message, session, params, user):
    seen.append(told())
    if message == "raise":
        raise LookupError("as told")
    return [session.id, dict(params), str(user)]

FORM on_error(error):
    seen.append(told())

FORM on_close(code, reason):
    seen.append([code, reason])
"""


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """Whether the callbacks are plain or async."""
    return str(request.param)


def made_of(source: str) -> ModuleType:
    module = ModuleType("made_up")
    exec(source, vars(module))  # noqa: S102
    return module


def test_a_handler_is_named_in_any_spelling_or_given_as_a_module() -> None:
    from handlers import echo

    for handler in ("handlers.echo", "echo", "/echo.js", echo):
        with Conversation(handler) as conversation:
            conversation.send("grüße")
            conversation.send(b"\x00")
            conversation.send("")
            assert conversation.received == ["grüße", b"\x00", ""]


def test_a_handler_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(HandlerNotFound):
        Conversation("nowhere")


def test_callbacks_get_what_they_ask_for_in_both_forms(form: str) -> None:
    module = made_of(CURIOUS.replace("FORM", form))
    tom = User(username="tom")
    with Conversation(module, params={"room": "x"}, user=tom, raise_errors=False) as conversation:
        conversation.send("hello")
        conversation.send("raise")
        assert conversation.receive_json() == [conversation.session.get_id(), {"room": "x"}, "tom"]
        conversation.disconnect(4000, "bye")
    params = {"room": "x"}
    assert module.seen == [
        ["onopen", None, None, params, "in"],
        ["onmessage", "hello", None, params, "in"],
        ["onmessage", "raise", None, params, "in"],
        ["onerror", None, "LookupError: as told", params, "in"],
        [4000, "bye"],
    ]
    assert websockets.get_method() is None


def test_a_session_is_opened_by_nobody_known_unless_said_otherwise() -> None:
    module = made_of("def on_open(user):\n    seen.append(user)\nseen = []")
    with Conversation(module):
        pass
    with Conversation(module, direction="out"):
        pass
    assert module.seen == [AnonymousUser(), None]


def test_what_a_callback_raises_is_raised_in_the_test_after_on_error(form: str) -> None:
    module = made_of(CURIOUS.replace("FORM", form))
    with Conversation(module) as conversation:
        with pytest.raises(LookupError, match="as told"):
            conversation.send("raise")
        conversation.send("goes on")
        assert [type(error) for error in conversation.errors] == [LookupError]
        assert conversation.receive_json()
    assert ["onerror", None, "LookupError: as told", {}, "in"] in module.seen


@pytest.mark.parametrize("callback", ["on_open", "on_message", "on_close", "may_open"])
def test_whichever_callback_raises_the_test_hears_of_it(form: str, callback: str) -> None:
    module = made_of(f"def on_error():\n    pass\n{form} {callback}():\n    raise OSError('x')")

    def talk() -> None:
        with Conversation(module) as conversation:
            conversation.send("x")

    with pytest.raises(OSError, match="x"):
        talk()
    assert not nodes()


def test_what_cannot_be_sent_is_raised_too() -> None:
    module = made_of("def on_message():\n    return object()")
    with Conversation(module) as conversation, pytest.raises(InvalidResult):
        conversation.send("x")


def test_the_tests_own_failure_is_not_hidden_by_one_of_on_close() -> None:
    module = made_of("def on_close():\n    raise OSError")
    with pytest.raises(ZeroDivisionError), Conversation(module):
        raise ZeroDivisionError


def test_an_error_closes_where_the_row_would_say_so() -> None:
    module = made_of("def on_message():\n    raise OSError")
    with Conversation(module, on_handler_error="close", raise_errors=False) as conversation:
        conversation.send("x")
        assert conversation.wait_closed() == (1011, "handler error")
        with pytest.raises(AssertionError, match="not open"):
            conversation.send("y")


@pytest.mark.parametrize(
    ("answer", "refusal"), [("True", None), ("False", 4403), ("4321", 4321), ("None", 4403)]
)
def test_may_open_decides(form: str, answer: str, refusal: int | None) -> None:
    module = made_of(
        "opened = []\n"
        f"{form} may_open(user, params):\n    return {answer} if user == 'tom' else False\n"
        "def on_open():\n    opened.append(1)"
    )
    conversation = Conversation(module, user="tom")
    assert conversation.open() is (refusal is None)
    assert conversation.refused_with == refusal
    assert module.opened == ([1] if refusal is None else [])
    conversation.close()
    with pytest.raises(AssertionError, match="refused: 4403"), Conversation(module):
        pass


def test_a_handler_sends_and_closes_by_its_session(form: str) -> None:
    wait, prefix = ("await ", "a") if form == "async def" else ("", "")
    module = made_of(
        f"{form} on_message(message, session):\n"
        "    session.send_text_async('1')\n"
        f"    answer = {wait}session.{prefix}send_json({{'answer': 2}})\n"
        f"    assert answer == 'written'\n"
        f"    {wait}session.{prefix}close(4000, 'enough')\n"
        f"    assert {wait}session.{prefix}send_bytes(b'late') == 'gone'\n"
        "def on_close(code, reason):\n    ends.append((code, reason))\n"
        "ends = []"
    )
    with Conversation(module) as conversation:
        conversation.send("x")
        assert conversation.receive() == "1"
        assert conversation.receive_json() == {"answer": 2}
        assert conversation.wait_closed() == conversation.closed == (4000, "enough")
        assert conversation.session.closed
    assert module.ends == [(4000, "enough")]


def test_a_handler_that_sends_on_after_the_end_is_ended_without_an_error(form: str) -> None:
    wait, prefix = ("await ", "a") if form == "async def" else ("", "")
    module = made_of(
        "answers = []\n"
        f"{form} on_message(message, session):\n"
        f"    {wait}session.{prefix}close()\n"
        "    while True:\n"
        f"        answers.append({wait}session.{prefix}send_text('tick'))\n"
    )
    with Conversation(module) as conversation:
        conversation.send("x")
        conversation.wait_closed()
    assert module.answers == ["gone"]


def test_other_code_can_write_to_and_close_the_session() -> None:
    with Conversation("echo") as conversation:
        assert conversation.session.send_text("from a view") == "written"
        assert conversation.receive() == "from a view"
        assert conversation.session.close(4000) == "written"
        assert conversation.wait_closed() == (4000, "")


def test_conversations_meet_in_groups(form: str) -> None:
    say = "await websockets.abroadcast" if form == "async def" else "websockets.broadcast"
    module = made_of(
        "from websockets_app import websockets\n"
        f"{form} on_open(session):\n    session.join('all')\n"
        f"{form} on_message(message, session):\n"
        f"    if message == 'leave':\n        session.leave('all')\n    {say}('all', message)"
    )
    with Conversation(module) as tom, Conversation(module, direction="out") as jerry:
        tom.send("hello")
        jerry.send("leave")
        assert websockets.broadcast("all", {"by": "nobody"}) == 1
        assert tom.received == ["hello", "leave", '{"by":"nobody"}']
        assert jerry.received == ["hello"]


def test_a_clients_handler_sends_by_its_client_without_an_outbox(form: str) -> None:
    send = "await session.asend" if form == "async def" else "session.send"
    module = made_of(
        f"{form} on_open(session):\n"
        f"    {send}({{'subscribe': 'news'}})\n"
        f"    {send}(b'bytes', ttl=3)\n"
        "    assert session.direction == 'out'\n"
        "def may_open():\n    raise AssertionError('clients are not asked')"
    )
    with Conversation(module, direction="out") as conversation:
        assert conversation.received == ['{"subscribe":"news"}', b"bytes"]
        assert isinstance(conversation.session, websockets.WebsocketClient)


def test_a_client_that_can_not_connect_hears_why() -> None:
    module = made_of("told = []\ndef on_error(error):\n    told.append(error)")
    conversation = Conversation(module, direction="out")
    conversation.fail("HandshakeRefused: 503")
    conversation.close()
    assert module.told == ["HandshakeRefused: 503"]


def test_what_a_task_of_the_handlers_sends_can_be_waited_for() -> None:
    module = made_of(
        "import asyncio\n"
        "async def later(session):\n    await go.wait()\n    await session.asend_text('now')\n"
        "async def on_open(session):\n"
        "    global go, task\n    go = asyncio.Event()\n"
        "    task = asyncio.create_task(later(session))\n"
        "async def on_message():\n    go.set()"
    )
    with Conversation(module) as conversation:
        assert conversation.receive_nothing(timeout=0.01)
        conversation.send("go")
        assert conversation.receive() == "now"


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        (lambda quiet: quiet.receive(), "No message came within 0.01 s"),
        (lambda quiet: quiet.wait_closed(), "It was not closed within 0.01 s"),
    ],
)
def test_waiting_in_vain_fails_and_leaves_the_conversation_as_it_is(
    wait: Callable[[Conversation], object], told: str
) -> None:
    with Conversation("echo", timeout=0.01) as quiet:
        with pytest.raises(AssertionError, match=told):
            wait(quiet)
        quiet.send("still here")
        with pytest.raises(AssertionError, match="A message came: 'still here'"):
            quiet.receive_nothing()
        assert quiet.receive() == "still here"


def test_a_callback_that_does_not_end_fails_the_test() -> None:
    module = made_of("import asyncio\nasync def on_message():\n    await asyncio.Event().wait()")
    late = pytest.raises(AssertionError, match=r"still ran after 0\.05 s")
    with Conversation(module, timeout=0.05) as conversation, late:
        conversation.send("x")


def test_in_a_sync_test_plain_callbacks_and_those_below_async_ones_run_in_its_thread() -> None:
    plain = made_of("import threading\ndef on_open():\n    return threading.current_thread().name")
    below = made_of(
        "import threading\nfrom asgiref.sync import sync_to_async, async_to_sync\n"
        "async def name():\n    return threading.current_thread().name\n"
        "async def on_open():\n"
        "    return await sync_to_async(lambda: threading.current_thread().name)()\n"
    )
    for module in (plain, below):
        with Conversation(module) as conversation:
            assert conversation.received == [threading.current_thread().name]


def test_sync_code_can_call_async_code_and_back() -> None:
    module = made_of(
        "from asgiref.sync import async_to_sync\n"
        "def on_open(session):\n    async_to_sync(session.asend_text)('both ways')"
    )
    with Conversation(module) as conversation:
        assert conversation.received == ["both ways"]


def test_nothing_is_left_behind_not_even_a_task_of_the_handlers() -> None:
    module = made_of(
        "import asyncio\nended = []\n"
        "async def tick():\n"
        "    try:\n        await asyncio.Event().wait()\n"
        "    finally:\n        ended.append(1)\n"
        "async def on_open():\n    global task\n    task = asyncio.create_task(tick())\n"
        "    await asyncio.sleep(0)"
    )
    before = threading.enumerate()
    with Conversation(module), Conversation(module):
        pass
    assert threading.enumerate() == before
    assert module.ended == [1, 1]
    assert not nodes()


async def test_in_an_async_test_the_same_methods_are_coroutines(form: str) -> None:
    module = made_of(CURIOUS.replace("FORM", form))
    before = asyncio.all_tasks()
    async with AsyncConversation(module, params={"room": "x"}, user="tom") as conversation:
        await conversation.send("hello")
        assert await conversation.receive_json() == [
            conversation.session.id, {"room": "x"}, "tom",
        ]  # fmt: skip
        with pytest.raises(LookupError):
            await conversation.send("raise")
        assert await conversation.receive_nothing(timeout=0.01)
        await conversation.session.aclose(4000, "bye")
        assert await conversation.wait_closed() == (4000, "bye")
    assert module.seen[-1] == [4000, "bye"]
    assert asyncio.all_tasks() == before
    assert not nodes()


async def test_callbacks_take_turns_and_what_waits_when_it_closes_is_dropped() -> None:
    module = made_of(
        "import asyncio\ndiary = []\n"
        "async def on_message(message):\n"
        "    diary.append(message)\n"
        "    if message == 'first':\n"
        "        await go.wait()\n    diary.append(message)\n"
        "def on_close():\n    diary.append('closed')"
    )
    module.go = asyncio.Event()  # type: ignore[attr-defined]

    async with AsyncConversation(module) as conversation:
        tasks = [asyncio.create_task(conversation.send(text)) for text in ("first", "second")]
        await aeventually(lambda: module.diary)
        await conversation.session.aclose()
        module.go.set()
        await asyncio.gather(*tasks)
    assert module.diary == ["first", "first", "closed"]


async def test_the_sync_conversation_refuses_to_block_a_loop_and_names_the_other() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="AsyncConversation"):
        Conversation("echo").open()


def test_handlers_below_the_packages_of_the_setting_alone_can_be_named(
    write_handler: WriteHandler,
) -> None:
    reference = write_handler("mirror", "def on_message(message):\n    return message[::-1]")
    with Conversation(reference) as conversation:
        conversation.send("abc")
        assert conversation.received == ["cba"]


class TransactionTests(TestCase):
    """What callbacks read and write is the test's transaction, in whatever form they are."""

    handlers = (
        "from django.contrib.auth.models import User\n"
        "def on_open():\n    return str(User.objects.get())\n"
        "def on_close():\n    User.objects.create(username='jerry')",
        "from django.contrib.auth.models import User\n"
        "async def on_open():\n    return str(await User.objects.aget())\n"
        "async def on_close():\n    await User.objects.acreate(username='jerry')",
    )

    def setUp(self) -> None:
        User.objects.create(username="tom")

    def test_in_a_sync_test(self) -> None:
        for source in self.handlers:
            with Conversation(made_of(source)) as conversation:
                assert conversation.received == ["tom"]
            assert User.objects.filter(username="jerry").delete()[0] == 1

    async def test_in_an_async_test(self) -> None:
        for source in self.handlers:
            async with AsyncConversation(made_of(source)) as conversation:
                assert conversation.received == ["tom"]
            assert (await User.objects.filter(username="jerry").adelete())[0] == 1
