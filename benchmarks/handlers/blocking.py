"""Answer after a wait that blocks the thread, as a query does."""

import time

BLOCKED_SECONDS = 0.005


def on_message(message: str | bytes) -> str | bytes:
    time.sleep(BLOCKED_SECONDS)
    return message
