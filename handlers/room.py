"""People talk in a room: the path names it, and every member hears what one says."""

from collections.abc import Mapping

from websockets_app import websockets


async def on_open(session: websockets.Peer, params: Mapping[str, str]) -> None:
    session.join(group(params))
    await websockets.abroadcast(group(params), {"joined": session.id[:8]})


async def on_message(
    message: str | bytes, session: websockets.Peer, params: Mapping[str, str]
) -> dict[str, str] | None:
    if isinstance(message, bytes):
        return {"error": "This room understands text only."}
    await websockets.abroadcast(group(params), {"from": session.id[:8], "text": message})
    return None


async def on_close(session: websockets.Peer, params: Mapping[str, str]) -> None:
    await websockets.abroadcast(group(params), {"left": session.id[:8]})


def group(params: Mapping[str, str]) -> str:
    return f"room:{params['room']}"
