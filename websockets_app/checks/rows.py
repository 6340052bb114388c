"""Checks of the rows: endpoints and clients that can't do what they say.

They warn: a row's problem must not keep `migrate`, which runs these, from going on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core import checks
from django.db import OperationalError, ProgrammingError, router

from ..conf import app_settings
from ..core.states import Desired, RateScope
from ..dispatch.engines import SERVICE_HANDLER
from ..inbound.config import handler_problem_of, services_problem_of
from ..models import Client, Endpoint
from ..models.shadowing import never_reached
from ..outbound.address import AllowedHosts
from ..outbound.config import environment_problem
from ..outbound.config import problem_of as problem_of_client
from ..redaction import clean
from .options import are_usable
from .tags import WEBSOCKETS


@checks.register(WEBSOCKETS, checks.Tags.database)
def check_rows(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    if router.db_for_write(Endpoint) not in (databases or ()) or not are_usable():
        return []
    try:
        endpoints = list(Endpoint.objects.served())
        clients = list(Client.objects.all())
    except (OperationalError, ProgrammingError):  # not migrated yet, or away
        return []
    found = [*_check_endpoints(endpoints), *_check_clients(clients)]
    for message in found:
        message.msg = clean(message.msg)
    return found


def _check_endpoints(endpoints: list[Endpoint]) -> Iterator[checks.CheckMessage]:
    for endpoint in endpoints:
        if problem := handler_problem_of(endpoint):
            yield checks.Warning(
                f"The endpoint {endpoint} refuses every connection: {problem}",
                hint="Mend the row or its handler, or disable the endpoint.",
                obj=endpoint,
                id="websockets_app.W040",
            )
        elif invalid := endpoint.invalid_values():
            yield checks.Warning(
                f"The endpoint {endpoint} has values that can't work: {invalid}",
                hint="Correct the row in the admin, or in the file that manages it.",
                obj=endpoint,
                id="websockets_app.W046",
            )
        else:
            yield from _check_services(endpoint)
    yield from _check_rates(endpoints)
    for newer, older in never_reached(endpoints):
        yield checks.Warning(
            f"The endpoint {newer} is never reached: {older} is older and takes all its paths.",
            hint="Change one of the paths, or delete one of the rows.",
            obj=newer,
            id="websockets_app.W041",
        )


def _check_services(endpoint: Endpoint) -> Iterator[checks.CheckMessage]:
    if problem := services_problem_of(endpoint):
        yield checks.Warning(
            f"The endpoint {endpoint} doesn't offer all of its services: {problem}",
            hint="Correct the modules, or the row's services.",
            obj=endpoint,
            id="websockets_app.W047",
        )
    elif endpoint.handler == SERVICE_HANDLER and not endpoint.services:
        yield checks.Warning(
            f"The endpoint {endpoint} offers no services: it answers every request with “Unknown "
            "module in the request”.",
            hint="List the modules that its peers may call in the row's services, for example "
            '["chat.chat_service"].',
            obj=endpoint,
            id="websockets_app.W048",
        )


def _check_rates(endpoints: list[Endpoint]) -> Iterator[checks.CheckMessage]:
    """Warn of rates that say "in all processes" and can't be counted there."""
    for endpoint in endpoints if app_settings.RATE_STORE is None else ():
        if endpoint.messages_per_second > 0 and endpoint.rate_scope != RateScope.SESSION:
            yield checks.Warning(
                f"The endpoint {endpoint} limits the rate of a {endpoint.rate_scope}, and each "
                "process counts for itself: there is no RATE_STORE.",
                hint="Set WEBSOCKETS['RATE_STORE'] to the URL of a Redis or Valkey; with a single "
                "server process, silence this.",
                obj=endpoint,
                id="websockets_app.W043",
            )


def _check_clients(clients: list[Client]) -> Iterator[checks.CheckMessage]:
    for client in clients:
        if problem := environment_problem(client):
            yield checks.Warning(
                f"The client {client} can't connect: {problem}",
                hint="Users who may change clients can send an allowed variable to any server: "
                "allow only variables that are meant for clients.",
                obj=client,
                id="websockets_app.W044",
            )
        elif _is_listed_as_host_only(client.proxy):
            yield checks.Warning(
                f"The client {client} can't use its proxy: WEBSOCKETS['ALLOWED_CLIENT_HOSTS'] "
                "lists it, but WEBSOCKETS['ALLOWED_CLIENT_PROXIES'] doesn't.",
                hint="Move the proxy to ALLOWED_CLIENT_PROXIES. Leave it in ALLOWED_CLIENT_HOSTS "
                "only if clients should also connect to it as a peer.",
                obj=client,
                id="websockets_app.W045",
            )
        elif client.desired == Desired.RUN and (problem := problem_of_client(client)):
            yield checks.Warning(
                f"The client {client} can't run: {problem}",
                hint="Mend the row or its handler, or stop the client.",
                obj=client,
                id="websockets_app.W042",
            )


def _is_listed_as_host_only(proxy: str) -> bool:
    """Return whether `proxy` is among the hosts that clients may dial, but not the proxies."""
    try:
        host = urlsplit(proxy).hostname or ""
    except ValueError:
        return False
    hosts = AllowedHosts(app_settings.ALLOWED_CLIENT_HOSTS)
    return hosts.lists(host) and not AllowedHosts(app_settings.ALLOWED_CLIENT_PROXIES).lists(host)
