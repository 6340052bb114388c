"""People who come with a browser: users with real Django sessions, and what they open."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import AsyncClient

from tests.inbound.driver import Connection

ORIGIN = ("origin", "http://testserver")


class Person:
    """A user who has logged in with a browser of their own."""

    def __init__(self, user: User, browser: AsyncClient) -> None:
        self.user = user
        self.browser = browser

    @property
    def key(self) -> str:
        """The key of the Django session, as the browser's cookie has it."""
        return self.browser.cookies[settings.SESSION_COOKIE_NAME].value

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What the browser sends with a handshake."""
        return [ORIGIN, ("cookie", f"{settings.SESSION_COOKIE_NAME}={self.key}")]

    async def enter(self, path: str, **options: Any) -> Connection:
        """Open an endpoint, which has to let them in."""
        connection = Connection(path, headers=self.headers, **options)
        answer = await connection.connect()
        assert answer["type"] == "websocket.accept", (path, answer)
        return connection

    async def change(self, **fields: Any) -> None:
        """Change the user's row, as somebody does who is elsewhere."""
        await User.objects.filter(pk=self.user.pk).aupdate(**fields)


async def log_in(name: str, **fields: Any) -> Person:
    """Create a user, and log them in."""
    user = User(username=name, **fields)
    user.set_password("secret")
    await user.asave()
    browser = AsyncClient()
    await browser.aforce_login(user, settings.AUTHENTICATION_BACKENDS[0])
    return Person(user, browser)
