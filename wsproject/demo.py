"""Prepare and run the demo: what ``make run`` does once the environment is installed.

Preparing is safe to repeat: rows are made the same as their files in ``handlers/``, and rows that
people made, changed or deleted are left as they are.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import sys
import time
from threading import Thread

import django
from django.core.management import CommandError, call_command
from honcho import manager as honcho

MAX_MESSAGE_SIZE = 16 * 1024 * 1024


def main() -> int:
    """Migrate, sync the rows with their files, then run the server and the runner until Ctrl-C."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wsproject.settings")
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    site = address_to_visit(host, port)
    os.environ["DEMO_SITE"] = site  # the client of the demo names it, as env:DEMO_SITE
    django.setup()
    call_command("migrate", verbosity=0)
    password = create_admin()
    if password is not None:  # a new database
        create_own_row()
        print(f"User admin, password {password}")
    sync_rows()
    Thread(target=print_when_ready, args=(site, password), daemon=True).start()
    return run(host, port)


def address_to_visit(host: str, port: str) -> str:
    """Return ``host:port`` as this machine reaches it, for a server that may listen everywhere."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"


def create_admin() -> str | None:
    """Create the user ``admin`` and return its password, or None where there is one already."""
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    if users.filter(username="admin").exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username="admin", email="", password=password)
    return password


def create_own_row() -> None:
    """Create an endpoint that no file owns, so that there is one to change in the admin."""
    from websockets_app.models import Endpoint

    Endpoint.objects.get_or_create(
        endpoint="try-me",
        defaults={
            "handler": "handlers.echo",
            "access": "public",
            "description": "Change this row in the admin while it is open here.",
        },
    )


def sync_rows() -> None:
    """Make the endpoints and the client of the demo from the files in ``handlers/``."""
    try:
        call_command("sync_websockets")
    except CommandError as error:  # a file that somebody is at work on must not stop the rest
        print(error, file=sys.stderr)


def print_when_ready(site: str, password: str | None) -> None:
    """Print where to look once the server answers, below everything that start-up printed."""
    host, _, port = site.rpartition(":")
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    print_where_to_look(site, password)


def print_where_to_look(site: str, password: str | None) -> None:
    """Print where the site is, and the password if it is new."""
    print(f"\n  Talk to an endpoint   http://{site}/")
    print(f"  See and change rows   http://{site}/admin/")
    if password is not None:
        print(f"\n  User admin, password {password}  (it is not shown again)")
    else:
        python = shlex.quote(os.path.relpath(sys.executable))
        print(f"\n  User admin; if its password is lost: {python} manage.py changepassword admin")
    print("\n  Ctrl-C ends the server and the runner.\n", flush=True)


def run(host: str, port: str) -> int:
    """Run Daphne and the runner of the clients together; return 0 when a person ended them."""
    # honcho kills what still runs five seconds after the first process has ended. Sockets that are
    # closed in order, and handlers that run to their end, may take longer.
    honcho.KILL_WAIT = 30
    manager = honcho.Manager()
    for name, command in commands(host, port).items():
        # `exec`, so that signals reach the program and not a shell around it.
        manager.add_process(name, f"exec {command}", env=dict(os.environ, PYTHONUNBUFFERED="1"))
    manager.loop()
    # 130 and 143: honcho's own numbers for Ctrl-C and SIGTERM.
    return 0 if manager.returncode in (None, 130, 143) else int(manager.returncode)


def commands(host: str, port: str) -> dict[str, str]:
    """Return the command lines of the processes by name."""
    python = shlex.quote(sys.executable)
    return {
        # Daphne's own limits would come before those of the rows: 1 MiB for each message, and a
        # day for each socket. -v 0: no line for each request, which would bury the password.
        "server": (
            f"{python} -m daphne -v 0 -b {shlex.quote(host)} -p {shlex.quote(port)}"
            " --websocket_timeout -1"
            f" --websocket-max-message-size {MAX_MESSAGE_SIZE}"
            f" --websocket-max-frame-size {MAX_MESSAGE_SIZE}"
            " wsproject.asgi:application"
        ),
        "runner": f"{python} manage.py run_websocket_clients",
    }


if __name__ == "__main__":
    sys.exit(main())
