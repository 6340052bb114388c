"""One callback at a time for one peer; nothing but cancellation escapes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from types import MappingProxyType
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler
from tests.infrastructure.waiting import aeventually
from websockets_app import websockets
from websockets_app.core.call import current_call
from websockets_app.core.states import CloseCause
from websockets_app.dispatch import loader
from websockets_app.dispatch.dispatcher import Dispatcher
from websockets_app.dispatch.frames import Frame
from websockets_app.dispatch.loader import Handler
from websockets_app.dispatch.pool import SyncPool
from websockets_app.exceptions import MayOpenFailed

FORMS = ["def", "async def"]


class Target:
    """A peer as the dispatcher sees one, and its record: keeps what was sent, closed, reported."""

    params = MappingProxyType({"room": "kitchen"})
    user = "tom"

    def __init__(self, handler: Handler, on_handler_error: str = "continue") -> None:
        self.handler = handler
        self.handle: Any = self
        self.record: Any = self
        self.subject: Any = self
        self.on_handler_error = on_handler_error
        self.sent: list[Frame] = []
        self.closed_with: list[tuple[int, str, CloseCause]] = []
        self.failures: list[tuple[str, str, str]] = []

    async def answer(self, frame: Frame) -> None:
        self.sent.append(frame)

    async def aclose(self, code: int, reason: str, cause: CloseCause) -> None:
        self.closed_with.append((code, reason, cause))

    def is_repeat(self, *_: object, **__: object) -> bool:
        return False

    def error(self, detail: str) -> None:
        said, _, trace = detail.partition("\n\n")
        callback, _, text = said.partition(": ")
        self.failures.append((callback, text, trace))

    def log_extra(self) -> dict[str, Any]:
        return {"endpoint": "echo", "session": "0123"}


def globals_of(target: Target) -> dict[str, Any]:
    return vars(sys.modules[target.handler.reference])


Dispatching = tuple[Dispatcher, Target]
Dispatch = Callable[..., Dispatching]


@pytest.fixture
async def dispatch(write_handler: WriteHandler) -> AsyncIterator[Dispatch]:
    """Return what dispatches to a handler of a source."""
    pool, numbers = SyncPool(asyncio.get_running_loop(), 4), iter(range(100))

    def make(source: str, **options: str) -> Dispatching:
        name = write_handler(f"module{next(numbers)}", "import asyncio\n" + source)
        target = Target(loader.load("python", name), **options)
        return Dispatcher(target, pool), target

    yield make
    pool.stop()


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_callback_returns_is_sent(dispatch: Dispatch, form: str) -> None:
    dispatcher, target = dispatch(
        f"{form} on_open(): return {{'hello': 'you'}}\n"
        f"{form} on_message(message): return message\n"
    )
    await dispatcher.open()
    await dispatcher.message("text")
    await dispatcher.message(b"binary")
    assert target.sent == ['{"hello":"you"}', "text", b"binary"]
    assert not target.failures


@pytest.mark.parametrize("form", FORMS)
async def test_none_sends_nothing_and_neither_do_on_close_and_on_error(
    dispatch: Dispatch, form: str
) -> None:
    dispatcher, target = dispatch(
        f"{form} on_message(message): return None\n"
        f"{form} on_close(): return 'too late'\n"
        f"{form} on_error(error): return 'oh'\n"
    )
    await dispatcher.message("text")
    await dispatcher.error("trouble")
    await dispatcher.close(1000, "")
    assert not target.sent
    assert not target.failures


async def test_callbacks_that_a_handler_lacks_are_skipped(dispatch: Dispatch) -> None:
    dispatcher, target = dispatch("def on_error(error): pass")
    assert await dispatcher.may_open() is True
    await dispatcher.open()
    await dispatcher.message("x")
    await dispatcher.close(1000, "")
    dispatcher, _ = dispatch("def on_open(): pass")
    await dispatcher.error("x")
    assert not target.sent


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "raised",
    [
        "ValueError('no')",
        "SystemExit('no')",
        "StopIteration('no')",
        "KeyboardInterrupt('no')",
        "BaseException('no')",
    ],
)
async def test_a_callback_that_raises_is_reported_and_the_next_message_handled(
    dispatch: Dispatch, form: str, raised: str
) -> None:
    dispatcher, target = dispatch(f"{form} on_message(message): raise {raised}\n")
    await dispatcher.message("x")
    [(callback, text, trace)] = target.failures
    assert callback == "on_message"
    assert text.startswith(raised.split("(")[0]) or "StopIteration" in text
    assert "Traceback" in trace
    assert "on_message" in trace
    assert not target.closed_with
    await dispatcher.message("y")
    assert len(target.failures) == 2


async def test_on_error_hears_the_text(dispatch: Dispatch) -> None:
    dispatcher, target = dispatch(
        "heard = []\n"
        "def on_message(message):\n"
        "    if message == 'what?': return heard\n"
        "    raise ValueError('bad ' + message)\n"
        "def on_error(error): heard.append(error)\n"
    )
    await dispatcher.message("luck")
    await dispatcher.message("what?")
    assert target.sent == ['["ValueError: bad luck"]']


async def test_a_failure_is_logged_with_endpoint_and_session(
    dispatch: Dispatch, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher, target = dispatch("def on_open(): raise ValueError('no')")
    await dispatcher.open()
    [record] = caplog.records
    assert record.getMessage() == f"on_open of {target.handler.reference} raised"
    assert (record.__dict__["endpoint"], record.__dict__["session"]) == ("echo", "0123")
    assert record.exc_info is not None


async def test_a_failure_tells_no_secret_of_its_message_and_forges_no_line(
    dispatch: Dispatch, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher, target = dispatch(
        "import json\n"
        "heard = []\n"
        "def on_message(message):\n"
        "    if message == 'what?': return heard\n"
        "    read = json.loads(message)\n"
        "    try: {}[read['password']]\n"
        "    except KeyError as error: raise ValueError(read['text'] + message) from error\n"
        "def on_error(error): heard.append(error)\n"
    )
    forged = "\nERROR root: forged \x1b[2J"
    await dispatcher.message(json.dumps({"password": "hunter2", "text": forged}))
    await dispatcher.message("what?")
    [(_, text, trace)] = target.failures
    heard = str(target.sent[0])
    assert "KeyError: '…'" in trace
    for told in (text, trace, heard, caplog.text):
        assert "ValueError" in told
        assert "hunter2" not in told
        assert "\x1b" not in told
        assert "\nERROR root" not in told


async def test_may_open_tells_no_captured_secret(
    dispatch: Dispatch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "params", MappingProxyType({"token": "hunter2"}))
    dispatcher, _ = dispatch(
        "def may_open(params): raise KeyError(params['token'])\ndef on_open(): pass"
    )
    with pytest.raises(MayOpenFailed) as failed:
        await dispatcher.may_open()
    assert str(failed.value) == "may_open raised KeyError: '…'"
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("form", FORMS)
async def test_a_raising_on_error_is_reported_and_calls_nothing_more(
    dispatch: Dispatch, form: str
) -> None:
    dispatcher, target = dispatch(
        f"{form} on_message(message): raise ValueError('first')\n"
        f"{form} on_error(error): raise TypeError('second')\n"
    )
    await dispatcher.message("x")
    assert [(name, text) for name, text, _ in target.failures] == [
        ("on_message", "ValueError: first"),
        ("on_error", "TypeError: second"),
    ]


@pytest.mark.parametrize(
    "returned", ["1", "(1, 2)", "{'a': object()}", "[float('nan')]", "object"]
)
async def test_what_can_not_be_sent_is_a_failure_of_the_callback(
    dispatch: Dispatch, returned: str
) -> None:
    dispatcher, target = dispatch(f"def on_message(message): return {returned}")
    await dispatcher.message("x")
    assert not target.sent
    assert [name for name, _, _ in target.failures] == ["on_message"]


@pytest.mark.parametrize("callback", ["on_open()", "on_message(message)"])
async def test_the_row_may_say_that_a_failure_closes(dispatch: Dispatch, callback: str) -> None:
    dispatcher, target = dispatch(f"def {callback}: raise ValueError", on_handler_error="close")
    await (dispatcher.open() if "open" in callback else dispatcher.message("x"))
    assert target.closed_with == [(1011, "handler error", CloseCause.HANDLER_ERROR)]


async def test_a_failure_in_on_close_is_reported_and_closes_nothing(dispatch: Dispatch) -> None:
    dispatcher, target = dispatch(
        "def on_close(code, reason): raise ValueError(f'{code} {reason}')\n",
        on_handler_error="close",
    )
    await dispatcher.close(1001, "bye")
    assert target.failures[0][:2] == ("on_close", "ValueError: 1001 bye")
    assert not target.closed_with


async def test_an_exception_that_can_not_tell_itself_is_reported_all_the_same(
    dispatch: Dispatch,
) -> None:
    dispatcher, target = dispatch(
        "class Mute(Exception):\n"
        "    def __str__(self): raise RuntimeError\n"
        "def on_message(message): raise Mute\n"
    )
    await dispatcher.message("x")
    assert target.failures[0][1].startswith("Mute: ")


async def test_a_plain_decorator_around_a_coroutine_function_is_understood(
    dispatch: Dispatch,
) -> None:
    dispatcher, target = dispatch(
        "import functools\n"
        "from websockets_app import websockets\n"
        "def plain(function):\n"
        "    @functools.wraps(function)\n"
        "    def wrapper(*args): return function(*args)\n"
        "    return wrapper\n"
        "@plain\n"
        "async def on_message(message):\n"
        "    await asyncio.sleep(0)\n"
        "    return websockets.get_message()\n"
    )
    await dispatcher.message("hello")
    assert target.sent == ["hello"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("answer", [True, False, 4403, None])
async def test_may_open_s_answer_is_handed_on(
    dispatch: Dispatch, form: str, answer: object
) -> None:
    dispatcher, _ = dispatch(f"def on_open(): pass\n{form} may_open(): return {answer}")
    assert await dispatcher.may_open() == answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("raised", ["ValueError('secret')", "SystemExit", "KeyboardInterrupt"])
async def test_a_raising_may_open_is_a_refusal_and_calls_no_on_error(
    dispatch: Dispatch, form: str, raised: str
) -> None:
    dispatcher, target = dispatch(
        f"def on_error(error): raise AssertionError\n{form} may_open(): raise {raised}"
    )
    with pytest.raises(MayOpenFailed, match="may_open raised"):
        await dispatcher.may_open()
    assert not target.failures


CONTEXT = """
import threading
from websockets_app import websockets

def look():
    return [websockets.get_method(), websockets.get_message(), websockets.get_error()]

seen = []
{form} on_open(): seen.append(look())
{form} on_message(message):
    seen.append(look())
    raise ValueError("x")
{form} on_error(error): seen.append(look())
{form} on_close(): seen.append(look())
"""


@pytest.mark.parametrize("form", FORMS)
async def test_each_callback_can_ask_what_it_runs_for(dispatch: Dispatch, form: str) -> None:
    dispatcher, target = dispatch(CONTEXT.format(form=form))
    await dispatcher.open()
    await dispatcher.message("hello")
    await dispatcher.close(1000, "")
    assert globals_of(target)["seen"] == [
        ["onopen", None, None],
        ["onmessage", "hello", None],
        ["onerror", None, "ValueError: x"],
        ["onclose", None, None],
    ]
    assert current_call.get() is None
    assert websockets.get_method() is None


@pytest.mark.parametrize("form", FORMS)
async def test_two_peers_at_once_never_see_each_other_s_message(
    dispatch: Dispatch, form: str
) -> None:
    wait = "await asyncio.sleep(0)" if form == "async def" else "time.sleep(0.0005)"
    source = (
        "import time\n"
        "from websockets_app import websockets\n"
        f"{form} on_message(message):\n"
        "    seen = []\n"
        "    for _ in range(5):\n"
        f"        {wait}\n"
        "        seen.append(websockets.get_message() == message)\n"
        "    return 'alone' if all(seen) else 'mixed'\n"
    )
    peers = [dispatch(source) for _ in range(8)]

    async def talk(number: int) -> list[Frame]:
        dispatcher, target = peers[number]
        for message in range(5):
            await dispatcher.message(f"{number}/{message}")
        return target.sent

    said = await asyncio.gather(*map(talk, range(8)))
    assert said == [["alone"] * 5] * 8


async def test_a_task_that_a_callback_started_never_sees_the_next_message(
    dispatch: Dispatch,
) -> None:
    dispatcher, target = dispatch(
        "from websockets_app import websockets\n"
        "release, tasks = asyncio.Event(), []\n"
        "async def later():\n"
        "    await release.wait()\n"
        "    return websockets.get_message()\n"
        "async def on_message(message):\n"
        "    if message == 'first':\n"
        "        tasks.append(asyncio.create_task(later()))\n"
        "        return None\n"
        "    release.set()\n"
        "    return await tasks[0]\n"
    )
    await dispatcher.message("first")
    await dispatcher.message("second")
    assert target.sent == ["first"]


async def test_timeouts_and_task_groups_work_in_a_callback(dispatch: Dispatch) -> None:
    dispatcher, target = dispatch(
        "async def on_message(message):\n"
        "    try:\n"
        "        async with asyncio.timeout(0.01):\n"
        "            await asyncio.sleep(60)\n"
        "    except TimeoutError:\n"
        "        pass\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        task = group.create_task(asyncio.sleep(0, 'done'))\n"
        "    return task.result()\n"
    )
    await dispatcher.message("x")
    assert target.sent == ["done"]
    assert not target.failures


async def test_a_cancellation_that_a_handler_ran_into_is_its_own_failure(
    dispatch: Dispatch,
) -> None:
    dispatcher, target = dispatch(
        "async def on_message(message):\n"
        "    task = asyncio.create_task(asyncio.sleep(60))\n"
        "    await asyncio.sleep(0)\n"
        "    task.cancel()\n"
        "    await task\n"
    )
    await dispatcher.message("x")
    assert target.failures[0][0] == "on_message"
    assert "CancelledError" in target.failures[0][1]


@pytest.mark.parametrize("callback", ["on_message", "on_error", "on_close", "may_open"])
async def test_a_cancellation_that_is_meant_for_the_peer_s_task_ends_it(
    dispatch: Dispatch, callback: str
) -> None:
    dispatcher, target = dispatch(
        f"begun = asyncio.Event()\ndef on_open(): pass\n"
        f"async def {callback}():\n    begun.set()\n    await asyncio.sleep(60)\n"
    )
    begun = globals_of(target)["begun"]
    work = {
        "on_message": lambda: dispatcher.message("x"),
        "on_error": lambda: dispatcher.error("x"),
        "on_close": lambda: dispatcher.close(1000, ""),
        "may_open": dispatcher.may_open,
    }[callback]
    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not target.failures


async def test_a_cancelled_peer_leaves_its_sync_callback_to_end_by_itself(
    dispatch: Dispatch,
) -> None:
    dispatcher, target = dispatch(
        "import threading\n"
        "begun, release, ended = threading.Event(), threading.Event(), threading.Event()\n"
        "def on_message(message):\n"
        "    begun.set()\n"
        "    release.wait(10)\n"
        "    ended.set()\n"
    )
    module = globals_of(target)
    task = asyncio.create_task(dispatcher.message("x"))
    await aeventually(module["begun"].is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    module["release"].set()
    await aeventually(module["ended"].is_set)
    assert not target.failures
