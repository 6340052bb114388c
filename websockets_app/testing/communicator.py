"""`EndpointCommunicator`: open an endpoint as a browser would, without a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from django.test import Client

from ..conf import app_settings
from ..core.close_codes import CloseCode
from ..dispatch.frames import Frame, as_json
from ..routing import serve_endpoint
from .arrivals import Arrivals, Closed
from .asgi import HOST, Application, AsgiConnection, Event, scope_of
from .serving import endpoints_served

_DENIAL: Final = "websocket.http.response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a handshake was answered; true where the connection is open."""

    accepted: bool
    status: int
    """The HTTP status: 101, or why it was refused."""
    subprotocol: str | None = None
    code: int | None = None
    """With `REFUSE_WITH` = "close", the code that tells why it was refused."""

    def __bool__(self) -> bool:
        return self.accepted


class EndpointCommunicator:
    """One connection to an endpoint, with a test as its peer; used in an event loop.

    `path` is below `PREFIX`, or absolute where it begins with a slash. `user` counts as logged in;
    `client` (a `django.test.Client`) lends its cookies, so that whoever it has logged in is known
    by their session, as in a browser. `origin` is the site's own; None sends none. `application`
    may be the site's whole ASGI application. `timeout` is how many seconds everything may take.

    `async with` connects, and leaves in the end; `connect()` also shows a refusal. When the last
    communicator of an event loop has ended, so has what served the endpoints. Inside a transaction
    (a `TestCase`) it needs `inline_recording()`.
    """

    def __init__(
        self,
        path: str,
        *,
        user: Any = None,
        client: Client | None = None,
        origin: str | None = f"http://{HOST}",
        headers: Mapping[str, str] | None = None,
        subprotocols: Iterable[str] = (),
        address: str = "127.0.0.1",
        application: Application = serve_endpoint,
        timeout: float = 5.0,
    ) -> None:
        named = _headers(origin, client) | dict(headers or {})
        scope = scope_of(
            path, headers=named, subprotocols=subprotocols, extensions=[_DENIAL], address=address
        )
        if user is not None:
            scope["user"] = user
        self.timeout = timeout
        self._asgi = AsgiConnection(application, scope)
        self._arrivals = Arrivals()
        self._answer: Answer | None = None
        self._answered = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._held = AsyncExitStack()
        self._ended = False

    async def __aenter__(self) -> Self:
        answer = await self.connect()
        if not answer:
            raise AssertionError(f"{self._asgi.scope['path']} was refused: {answer}.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.disconnect()
        except BaseException:
            if error is None:  # else the test's own tells more
                raise

    @property
    def received(self) -> list[Frame]:
        """Every message that has come so far."""
        return self._arrivals.messages

    @property
    def is_open(self) -> bool:
        """Whether the connection was accepted and hasn't ended."""
        return bool(self._answer) and self._arrivals.closed is None

    async def connect(self) -> Answer:
        """Open the connection, and return how the handshake was answered."""
        if self._asgi.task is not None:
            raise RuntimeError("A communicator connects once.")
        try:
            await self._held.enter_async_context(endpoints_served())
            answer = await self._begin()
        except BaseException:
            await self._held.aclose()
            raise
        if not answer:
            await self._end()
        return answer

    async def send(self, message: str | bytes) -> None:
        """Send a text (`str`) or binary (`bytes`) message."""
        if not self.is_open:
            raise AssertionError("The connection is not open.")
        self._asgi.send(message)

    async def send_json(self, value: Any) -> None:
        """Send `value` as a text message of JSON."""
        await self.send(as_json(value))

    async def receive(self) -> Frame:
        """Return the next message, `str` or `bytes`."""
        return await self._arrivals.take(self.timeout)

    async def receive_json(self) -> Any:
        """Return what the next message says, which must be JSON."""
        return json.loads(await self.receive())

    async def receive_nothing(self, timeout: float = 0.1) -> Literal[True]:
        """Wait for `timeout` seconds; raise where a message comes, or a close.

        What has come can still be received, and the connection goes on.
        """
        await self._arrivals.nothing(timeout)
        return True

    async def wait_closed(self) -> Closed:
        """Wait until the endpoint has closed the connection; return the code and reason."""
        closed = await self._arrivals.end_of_it(self.timeout)
        await self._end()
        return closed

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Leave, and wait until `on_close` has run and everything has ended."""
        if self.is_open:
            self._asgi.leave(code, reason)
            self._arrivals.end(Closed(code, reason))
        await self._end()

    # Steps

    async def _begin(self) -> Answer:
        self._held.push_async_callback(self._stop)
        self._asgi.begin()
        assert self._asgi.task is not None
        self._asgi.task.add_done_callback(self._application_ended)
        self._reader = asyncio.create_task(self._read())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timeout):
                await self._answered.wait()
        if self._answer is None:
            why = f"The handshake was not answered within {self.timeout:g} s."
            raise self._arrivals.failure or AssertionError(why)
        closed = self._arrivals.closed
        if closed and app_settings.REFUSE_WITH == "close" and not self.received:
            self._answer = Answer(accepted=False, status=self._answer.status, code=closed.code)
        return self._answer

    async def _end(self) -> None:
        """Let go of everything once the application has returned."""
        task, self._ended = None if self._ended else self._asgi.task, True
        try:
            if task is not None:
                await asyncio.wait([task], timeout=self.timeout)
                if not task.done():
                    raise AssertionError(f"A handler still runs after {self.timeout:g} s.")
                task.result()
        finally:
            await self._held.aclose()

    async def _stop(self) -> None:
        tasks = [task for task in (self._asgi.task, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            self._take(await self._asgi.sent.get())

    def _take(self, event: Event) -> None:
        """Sort in what the application sends."""
        match event["type"]:
            case "websocket.accept":
                chosen = event.get("subprotocol")
                self._note(Answer(accepted=True, status=101, subprotocol=chosen))
            case "websocket.http.response.start":
                self._note(Answer(accepted=False, status=event["status"]))
            case "websocket.send":
                text = event.get("text")
                self._arrivals.add(event["bytes"] if text is None else text)
            case "websocket.close":
                # Before an accept it refuses, with 403 (ASGI's specification of WebSockets).
                self._note(Answer(accepted=False, status=403))
                closed = Closed(event.get("code") or CloseCode.NORMAL, event.get("reason") or "")
                self._arrivals.end(closed)
                self._asgi.leave(*closed)  # as servers tell the application

    def _note(self, answer: Answer) -> None:
        if self._answer is None:
            self._answer = answer
        self._answered.set()

    def _application_ended(self, task: asyncio.Task[None]) -> None:
        while not self._asgi.sent.empty():
            self._take(self._asgi.sent.get_nowait())
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._arrivals.end(Closed(CloseCode.ABNORMAL, ""), failure)
        self._answered.set()


def _headers(origin: str | None, client: Client | None) -> dict[str, str]:
    headers = {} if origin is None else {"origin": origin}
    if client is not None:
        cookies = client.cookies.values()
        headers["cookie"] = "; ".join(f"{cookie.key}={cookie.coded_value}" for cookie in cookies)
    return headers
