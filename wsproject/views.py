"""The demo page."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from websockets_app.core.states import Access
from websockets_app.models import Endpoint

# The page keeps what it is made of in files of its own, and talks to this site alone.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def demo(request: HttpRequest) -> HttpResponse:
    """Let a visitor open the endpoints whose *access* lets them in, and talk to them."""
    response = render(request, "demo.html", {"endpoints": _endpoints(request.user)})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


def _endpoints(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Endpoint]:
    return Endpoint.objects.served().filter(access__in=_levels(user))


def _levels(user: AbstractBaseUser | AnonymousUser) -> list[Access]:
    levels = [Access.PUBLIC]
    if user.is_authenticated:
        levels.append(Access.AUTHENTICATED)
    if getattr(user, "is_staff", False):
        levels.append(Access.STAFF)
    return levels
