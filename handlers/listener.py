"""Listen in silence: the admin counts the messages, and only the start and the end are printed."""


def on_open() -> None:
    print("Listening.", flush=True)


def on_close() -> None:
    print("No longer listening.", flush=True)
