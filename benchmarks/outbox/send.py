"""Sends messages through clients in turn, each in a transaction of its own; a program.

``… benchmarks.outbox.send MESSAGES THREADS CLIENT…`` runs in the environment of a site, and prints
how long it took. Its threads send at the same time, as those of a server do.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from websockets_app.websockets import WebsocketClient

SIZE = 100
"""Characters of a message: a small JSON object."""


def main(messages: int, threads: int, names: list[str]) -> None:
    django.setup()
    clients = _clients(names)
    began, used = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        shares = [range(number, messages, threads) for number in range(threads)]
        for _ in pool.map(lambda share: _send(share, clients), shares):
            pass
    took = {"seconds": time.monotonic() - began, "cpu": time.process_time() - used}
    print(json.dumps(took))


def _clients(names: list[str]) -> list[WebsocketClient]:
    from websockets_app import websockets
    from websockets_app.models import Client

    ids = Client.objects.filter(name__in=names).values_list("pk", flat=True)
    found = [client for key in ids if (client := websockets.get_client(key)) is not None]
    assert len(found) == len(names)
    return found


def _send(share: range, clients: list[WebsocketClient]) -> None:
    from django.db import connection

    for number, client in zip(share, islice(cycle(clients), share.start, None), strict=False):
        client.send(f"{number:0{SIZE}}")
    connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
