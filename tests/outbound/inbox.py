"""A peer that keeps what it receives, and can be told to behave badly."""

from __future__ import annotations

import contextlib

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

Message = str | bytes


class Inbox:
    """Talks as `make_peer` wants it: takes messages, and answers none."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.sockets: list[ServerConnection] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self.pongs = True
        self.breaks_after: int | None = None
        """After so many messages it breaks the connection without a word, once."""

    async def __call__(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self._may_withhold_pongs(socket)
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                self.messages.append(message)
                if len(self.messages) == self.breaks_after:
                    self.breaks_after = None
                    self.break_off()
                    break
        await socket.wait_closed()
        self.closes.append((socket.close_code, socket.close_reason))

    def break_off(self) -> None:
        """Break the latest connection, without a word."""
        self.pongs = True
        self.sockets[-1].transport.abort()

    def _may_withhold_pongs(self, socket: ServerConnection) -> None:
        send_frame = socket.protocol.send_frame

        def send(frame: Frame) -> None:
            if self.pongs or frame.opcode is not Opcode.PONG:
                send_frame(frame)

        socket.protocol.send_frame = send  # type: ignore[method-assign]
