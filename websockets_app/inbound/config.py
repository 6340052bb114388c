"""An endpoint as a server node holds it in memory: everything resolved, nothing to look up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from ..core.states import Access
from ..dispatch import loader
from ..dispatch.loader import Handler
from ..dispatch.services import load_services
from ..exceptions import InvalidEndpoint
from ..models import Endpoint
from ..models.patterns import EndpointPattern, compile_route
from ..recording.facts import Subject
from ..redaction import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """One served endpoint. Two are equal where a session couldn't tell them apart."""

    id: int
    endpoint: str
    engine: str
    reference: str
    handler: Handler | None
    services: tuple[str, ...]
    """References of the services that its peers may call."""
    flaw: str = field(compare=False)
    """Why the row can't serve unless it is changed; part of `problem`."""
    problem: str = field(compare=False)
    """Why the handler or a service is missing, in words for the operator, or an empty string."""
    access: str
    permission: str
    groups: frozenset[int]
    subprotocols: tuple[str, ...]
    origins: tuple[str, ...]
    allow_missing_origin: bool
    accept_users_without_row: bool
    max_message_size: int
    inbox_messages: int
    inbox_bytes: int
    messages_per_second: float
    message_burst: int
    rate_scope: str
    connections_per_minute: int
    connection_burst: int
    max_sessions: int
    max_sessions_per_user: int
    max_sessions_per_address: int
    idle_timeout: float
    send_timeout: float
    on_change: str
    on_handler_error: str
    record_messages: str

    @property
    def counts_sessions(self) -> bool:
        """Whether the number of sessions is limited in any way."""
        return any((self.max_sessions, self.max_sessions_per_user, self.max_sessions_per_address))

    @property
    def rate(self) -> tuple[float, int, str]:
        """What tells one limit of the rate from another."""
        return self.messages_per_second, self.message_burst, self.rate_scope

    @cached_property
    def needs_user(self) -> bool:
        """Whether somebody must be logged in."""
        return bool(self.access != Access.PUBLIC or self.permission or self.groups)

    @cached_property
    def pattern(self) -> EndpointPattern | None:
        """The compiled path; None if the row's path can't be served."""
        try:
            return compile_route(self.endpoint)
        except InvalidEndpoint:
            return None

    @cached_property
    def subject(self) -> Subject:
        """Whom facts of this endpoint are about."""
        return Subject("in", self.id, None, self.endpoint)


def prepare(row: Endpoint) -> EndpointConfig:
    """Return `row` with its handler and services loaded: blocking, for a database thread."""
    config = EndpointConfig(
        id=row.pk,
        endpoint=row.endpoint,
        engine=row.engine,
        reference=row.handler,
        handler=None,
        services=_strings(row.services),
        flaw=_flaw(row),
        problem="",
        access=row.access,
        permission=row.permission,
        groups=frozenset(group.pk for group in row.groups.all()),
        subprotocols=_strings(row.subprotocols),
        origins=_strings(row.origins),
        allow_missing_origin=row.allow_missing_origin,
        accept_users_without_row=row.accept_users_without_row,
        max_message_size=row.max_message_size,
        inbox_messages=row.inbox_messages,
        inbox_bytes=row.inbox_bytes,
        messages_per_second=row.messages_per_second,
        message_burst=row.message_burst,
        rate_scope=row.rate_scope,
        connections_per_minute=row.connections_per_minute,
        connection_burst=row.connection_burst,
        max_sessions=row.max_sessions,
        max_sessions_per_user=row.max_sessions_per_user,
        max_sessions_per_address=row.max_sessions_per_address,
        idle_timeout=row.idle_timeout,
        send_timeout=row.send_timeout,
        on_change=row.on_change,
        on_handler_error=row.on_handler_error,
        record_messages=row.record_messages,
    )
    config = with_handler(config)
    if config.problem:
        logger.warning(
            "Endpoint %s: %s", row.endpoint, config.problem, extra={"endpoint": row.endpoint}
        )
    return config


def with_handler(config: EndpointConfig) -> EndpointConfig:
    """Return `config` with its handler and services loaded, or with the problem why not. Blocking.

    A service that can't be loaded doesn't stop the endpoint: it serves with the others.
    """
    if config.flaw:
        return replace(config, problem=config.flaw)
    handler, problem = loader.load_or_problem(config.engine, config.reference)
    if handler is not None and config.services:
        services, problem = load_services(config.services)
        handler = replace(handler, services=services)
    return replace(config, handler=handler, problem=problem)


def problem_of(row: Endpoint) -> str:
    """Return why `row` can't serve or lacks services, in words, or an empty string. Blocking."""
    return handler_problem_of(row) or services_problem_of(row)


def handler_problem_of(row: Endpoint) -> str:
    """Return why `row` refuses every connection, in words, or an empty string. Blocking."""
    return _flaw(row) or loader.problem_of(row.engine, row.handler)


def services_problem_of(row: Endpoint) -> str:
    """Return which services `row` can't offer and why, or an empty string. Blocking."""
    return load_services(_strings(row.services))[1]


def _flaw(row: Endpoint) -> str:
    """Return what is wrong with values that didn't come through a form, or an empty string."""
    for name in ("subprotocols", "origins", "services"):
        if not isinstance(getattr(row, name), list):
            return f"Its {name} are no JSON list."
    try:
        compile_route(row.endpoint)
    except InvalidEndpoint as error:
        return str(error)
    return ""


def _strings(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
