"""Print what happens: the seed's example handler. A client's prints appear in the runner."""


def on_open():
    print("Connection opened.", flush=True)


def on_message(message):
    print(f"Message received: {message}", flush=True)


def on_error(error):
    print(f"Error: {error}", flush=True)


def on_close():
    print("Connection closed.", flush=True)
