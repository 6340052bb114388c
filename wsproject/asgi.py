"""HTTP by Django, WebSockets by websockets_app."""

import os

from django.core.asgi import get_asgi_application

from websockets_app.routing import with_websockets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wsproject.settings")

application = with_websockets(get_asgi_application())
