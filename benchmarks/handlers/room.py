"""Send as many texts to everyone as a member asks for."""

from benchmarks.generator.load import MESSAGE
from websockets_app import websockets

TEXT = MESSAGE


async def on_open(session: websockets.Peer) -> None:
    session.join("room")


async def on_message(message: str) -> None:
    for _ in range(int(message)):
        await websockets.abroadcast("room", TEXT)
