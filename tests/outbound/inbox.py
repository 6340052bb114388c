"""A peer that keeps what it receives, and can be told to behave badly."""

from __future__ import annotations

import contextlib

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

Message = str | bytes


class Inbox:
    """Talks as `make_peer` wants it: takes messages, and answers none.

    What counts as received is what its library has read, which is what its pongs speak of: what
    a program has not taken out of the library yet is lost to it when the connection breaks.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.sockets: list[ServerConnection] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self.pongs = True
        self.breaks_after: int | None = None
        """After so many messages it breaks the connection without a word, once."""

    async def __call__(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        with contextlib.suppress(ConnectionClosed):
            async for _ in socket:
                pass
        await socket.wait_closed()
        self.closes.append((socket.close_code, socket.close_reason))

    def break_off(self) -> None:
        """Break the latest connection, without a word."""
        self.pongs = True
        self.sockets[-1].transport.abort()

    def prepare(self, socket: ServerConnection, request: Request) -> Response | None:
        """Listen in on a connection, before its first message; see `make_peer`."""
        process_event, send_frame = socket.process_event, socket.protocol.send_frame

        def process(event: Request | Frame) -> None:
            if isinstance(event, Frame):
                self._take(event)
            process_event(event)  # type: ignore[arg-type]

        def send(frame: Frame) -> None:
            if self.pongs or frame.opcode is not Opcode.PONG:
                send_frame(frame)

        socket.process_event = process  # type: ignore[method-assign, assignment]
        socket.protocol.send_frame = send  # type: ignore[method-assign]
        return None

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in {Opcode.TEXT, Opcode.BINARY}:
            return
        data = bytes(frame.data)
        self.messages.append(data.decode() if frame.opcode is Opcode.TEXT else data)
        if len(self.messages) == self.breaks_after:
            self.breaks_after = None
            self.break_off()
