"""A row that changes while sessions are open: what that means to them, on every node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

Endpoints = Callable[..., None]

SHOUT = "def on_message(message):\n    return message.upper()\n"
CHOICES = ("keep", "drain", "close")


async def answer(socket: ClientConnection) -> str | int:
    """Return what is answered to `a`, or the code with which the session was closed."""
    try:
        async with asyncio.timeout(5 * SCALE):
            await socket.send("a")
            return str(await socket.recv())
    except ConnectionClosed:
        return socket.close_code or 0


async def new_sessions_shout(server: Server, path: str) -> bool:
    async with connect(server.ws(path)) as socket:
        return await answer(socket) == "A"


async def test_a_change_means_to_open_sessions_what_their_row_says_on_every_node(
    site: Site, endpoints: Endpoints
) -> None:
    rows = {name: {"handler": "handlers.echo", "on_change": name} for name in CHOICES}
    endpoints(site, **rows)
    shout = site.write_handler("shout", SHOUT)
    daphne, uvicorn = site.start_daphne(), site.start_uvicorn()
    closes = {daphne.port: 4012, uvicorn.port: 1012}
    sockets = {
        (server.port, name): await connect(server.ws(name))
        for server in (daphne, uvicorn)
        for name in CHOICES
    }
    for socket in sockets.values():
        assert await answer(socket) == "a"
    await asyncio.to_thread(site.shell, f"Endpoint.objects.update(handler={shout!r})")
    for server in (daphne, uvicorn):
        for name in CHOICES:
            await aeventually(lambda: new_sessions_shout(server, name), timeout=2)  # noqa: B023
    for (port, name), socket in sockets.items():
        assert await answer(socket) == {"keep": "A", "drain": "a", "close": closes[port]}[name]
    await asyncio.to_thread(site.shell, "Endpoint.objects.filter(endpoint='drain').delete()")
    for server, code in ((daphne, 4001), (uvicorn, 1001)):
        drained = sockets[server.port, "drain"]
        async with asyncio.timeout(2 * SCALE):
            await drained.wait_closed()
        assert drained.close_code == code
    await asyncio.gather(*(socket.close() for socket in sockets.values()))


DATA_MIGRATION = """
from django.db import migrations

def restrict(apps, schema_editor):
    apps.get_model("websockets_app", "Endpoint").objects.update(access="staff")

class Migration(migrations.Migration):
    dependencies = [("websockets_app", "0001_initial")]
    operations = [migrations.RunPython(restrict)]
"""


async def test_access_that_a_data_migration_changes_is_noticed(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site(settings="INSTALLED_APPS += ['shop']")
    migrations = site.directory / "shop" / "migrations"
    migrations.mkdir(parents=True)
    (migrations.parent / "__init__.py").touch()
    (migrations / "__init__.py").touch()
    (migrations / "0001_restrict.py").write_text(DATA_MIGRATION)
    endpoints(site, open={"handler": "handlers.echo", "on_change": "keep"})
    server = site.start_daphne()
    async with connect(server.ws("open")) as socket:
        assert await answer(socket) == "a"
        await asyncio.to_thread(site.manage, "migrate", "shop")
        async with asyncio.timeout(10 * SCALE):
            await socket.wait_closed()
        assert socket.close_code == 4401  # nobody is logged in
