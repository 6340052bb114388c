"""A client as its runner holds it in memory: everything resolved, nothing to look up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from ..core.policy import Backoff, Traits
from ..dispatch import loader
from ..dispatch.loader import Handler
from ..models import Client
from ..recording.facts import Subject
from . import tls
from .credentials import not_allowed, redacted

_FIELDS: Final = {"uri": "URI", "headers": "headers field", "proxy": "proxy"}


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """One client that should run. `env:NAME` stands in it as it stands in the row."""

    id: int
    name: str
    uri: str
    engine: str
    reference: str
    handler: Handler | None
    flaw: str
    """What no attempt can mend, only a change of the row; part of `problem`."""
    problem: str
    """Why it can't connect, in words for the operator; empty where it can."""
    headers: tuple[tuple[str, str], ...]
    subprotocols: tuple[str, ...]
    origin: str
    verify_tls: bool
    ca_certificates: str
    proxy: str
    compression: bool
    open_timeout: float
    close_timeout: float
    ping_interval: float
    ping_timeout: float
    max_message_size: int
    backoff: Backoff
    on_handler_error: str
    record_messages: str
    ephemeral: bool
    generation: int

    @cached_property
    def traits(self) -> Traits:
        """What a connection would notice if it changed."""
        return Traits(
            wire=(
                self.uri, self.headers, self.subprotocols, self.origin, self.verify_tls,
                self.ca_certificates, self.proxy, self.compression, self.open_timeout,
                self.close_timeout, self.ping_interval, self.ping_timeout, self.max_message_size,
                self.generation,
            ),
            manner=(
                self.engine, self.reference, self.on_handler_error, self.record_messages,
                self.backoff,
            ),
        )  # fmt: skip

    @cached_property
    def subject(self) -> Subject:
        """Whom facts of this client are about."""
        return Subject("out", None, self.id, self.name)

    @cached_property
    def shown_uri(self) -> str:
        """The URI for people: no credentials, no query values."""
        return redacted(self.uri)


def prepare(row: Client) -> ClientConfig:
    """Return `row` with its handler loaded: blocking, for a database thread."""
    headers = row.headers if isinstance(row.headers, dict) else {}
    names = row.subprotocols if isinstance(row.subprotocols, list) else []
    config = ClientConfig(
        id=row.pk,
        name=row.name,
        uri=row.uri,
        engine=row.engine,
        reference=row.handler,
        handler=None,
        flaw=_flaw(row),
        problem="",
        headers=tuple((name, str(value)) for name, value in headers.items()),
        subprotocols=tuple(str(name) for name in names),
        origin=row.origin,
        verify_tls=row.verify_tls,
        ca_certificates=row.ca_certificates,
        proxy=row.proxy,
        compression=row.compression,
        open_timeout=row.open_timeout,
        close_timeout=row.close_timeout,
        ping_interval=row.ping_interval,
        ping_timeout=row.ping_timeout,
        max_message_size=row.max_message_size,
        backoff=_backoff(row),
        on_handler_error=row.on_handler_error,
        record_messages=row.record_messages,
        ephemeral=row.ephemeral,
        generation=row.generation,
    )
    return with_handler(config)


def with_handler(config: ClientConfig) -> ClientConfig:
    """Return `config` with its handler loaded, or with the problem why not. Blocking."""
    if config.flaw:
        return replace(config, problem=config.flaw)
    handler, problem = loader.load_or_problem(config.engine, config.reference)
    return replace(config, handler=handler, problem=problem)


def problem_of(row: Client) -> str:
    """Return why `row` can't connect, in words for the operator, or an empty string. Blocking."""
    return (
        _flaw(row)
        or environment_problem(row)
        or row.invalid_values()
        or loader.problem_of(row.engine, row.handler)
    )


def environment_problem(row: Client) -> str:
    """Return which environment variable `row` names but may not read, or an empty string."""
    refused = row.refused_variables().items()
    return next((not_allowed(names[0], _FIELDS[field]) for field, names in refused), "")


def _backoff(row: Client) -> Backoff:
    return Backoff(
        base=row.backoff_base, ceiling=row.backoff_ceiling, stable_after=row.stable_after
    )


def _flaw(row: Client) -> str:
    """Return what is wrong with values that didn't come through a form, or an empty string."""
    if not isinstance(row.headers, dict):
        return "Its headers are no JSON object."
    if not isinstance(row.subprotocols, list):
        return "Its subprotocols are no JSON list."
    if row.uri.startswith("wss:") or row.ca_certificates:
        return tls.problem_of(row.verify_tls, row.ca_certificates)
    return ""
