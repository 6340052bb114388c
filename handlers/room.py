"""People talk in a room: the path names it, and every member hears what one says."""

from websockets_app import websockets


async def on_open(session, params):
    session.join(group(params))
    await websockets.abroadcast(group(params), {"joined": session.id[:8]})


async def on_message(message, session, params):
    if isinstance(message, bytes):
        return {"error": "This room understands text only."}
    await websockets.abroadcast(group(params), {"from": session.id[:8], "text": message})
    return None


async def on_close(session, params):
    await websockets.abroadcast(group(params), {"left": session.id[:8]})


def group(params):
    return f"room:{params['room']}"
