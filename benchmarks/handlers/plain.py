"""Answer every message with itself, in a plain function: it runs in a thread."""


def on_message(message: str | bytes) -> str | bytes:
    return message
