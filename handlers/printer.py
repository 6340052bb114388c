"""Print what happens: the seed's example handler. A client's prints appear in the runner."""


def on_open() -> None:
    print("Connection opened.", flush=True)


def on_message(message: str | bytes) -> None:
    print(f"Message received: {message!r}", flush=True)


def on_error(error: str) -> None:
    print(f"Error: {error}", flush=True)


def on_close() -> None:
    print("Connection closed.", flush=True)
