"""Answer every message with itself, text and binary."""


async def on_message(message: str | bytes) -> str | bytes:
    return message
