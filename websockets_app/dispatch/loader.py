"""From a handler reference to a `Handler`: its callbacks, and how each wants to be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from operator import attrgetter
from typing import Any, Final

from asgiref.sync import iscoroutinefunction

from ..core.call import ARGUMENTS, Call
from ..exceptions import (
    ConfigurationError,
    HandlerInvalid,
    HandlerNotFound,
    HandlerProblem,
    NotAService,
)
from .engines import FUNCTIONS, HANDLE, SERVICE_HANDLER, get_engine
from .reimport import importing_anew

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "may_open": ("user", "params", "session"),
    HANDLE: ("params", "session", "user"),
}
"""What a function may ask for that is no callback."""
_POSITIONAL: Final = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One function of a handler, with its arguments worked out."""

    name: str
    invoke: Callable[[Call], Any]
    """Calls the function with what it asks for; of an async one, returns the awaitable."""
    is_async: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What an endpoint or client calls. Each callback is optional."""

    reference: str
    on_open: Callback | None = None
    on_message: Callback | None = None
    on_error: Callback | None = None
    on_close: Callback | None = None
    may_open: Callback | None = None
    services: Mapping[tuple[str, str], Callback] = field(default_factory=dict)
    """What the peers of an endpoint may call by name (`services.load_services`)."""


def resolve(engine: str, reference: str) -> str:
    """Return the name under which `reference` is stored; raise `HandlerProblem`."""
    return get_engine(engine).resolve(reference)


def resolve_typed(engine: str, reference: str) -> str:
    """Return what `resolve` does, for what a person wrote: its error names a similar handler."""
    try:
        return resolve(engine, reference)
    except HandlerNotFound as problem:
        if meant := _similar(engine, reference):
            raise HandlerNotFound(f"{problem} Did you mean {meant}?") from problem
        raise


def _similar(engine: str, reference: str) -> str:
    """Return the handler whose name is most like `reference`, or an empty string."""
    written = reference.strip("/").removesuffix(".py").replace("/", ".").replace("-", "_")
    known: dict[str, str] = {}
    for name in get_engine(engine).discover():
        known |= {name: name, name.partition(".")[2]: name}  # with and without its package
    return next((known[close] for close in get_close_matches(written, known, n=1)), "")


@cache
def load(engine: str, name: str) -> Handler:
    """Return the handler stored as `name`; raise `HandlerProblem`.

    What was loaded stays, as its module does; a failure is tried again at the next call.
    """
    with importing_anew(name):
        return handler_of(name, get_engine(engine).load(name))


def handler_of(name: str, functions: Mapping[str, Callable[..., Any]]) -> Handler:
    """Return the handler `name` whose callbacks are among `functions`; raise `HandlerInvalid`."""
    callbacks: dict[str, Any] = {
        function: _callback(name, function, functions[function])
        for function in FUNCTIONS
        if function in functions
    }
    if not callbacks.keys() - {"may_open"}:
        told = f"{name!r} has no callback: define on_open, on_message, on_error or on_close."
        if HANDLE in functions:
            told += f" As a service it is called through the handler {SERVICE_HANDLER}."
        raise HandlerInvalid(told)
    return Handler(reference=name, **callbacks)


@cache
def load_handle(engine: str, name: str) -> Callback:
    """Return the function `handle` of the module stored as `name`; raise `HandlerProblem`.

    It has to ask for `params`: that tells what is meant to be called by peers from a helper that
    only has the name.
    """
    with importing_anew(name):
        function = get_engine(engine).load(name).get(HANDLE)
        if function is None:
            raise NotAService(f"{name!r} is no service: it defines no handle(params).")
        handle = _callback(name, HANDLE, function)
        if "params" not in inspect.signature(function).parameters:
            raise NotAService(f"{name!r} is no service: its handle doesn't ask for params.")
        return handle


def load_or_problem(engine: str, name: str) -> tuple[Handler | None, str]:
    """Return the handler and an empty string, or None and why it can't serve, in words."""
    try:
        return load(engine, name), ""
    except (HandlerProblem, ConfigurationError) as problem:
        return None, str(problem)


def problem_of(engine: str, name: str) -> str:
    """Return why the handler can't serve, or an empty string."""
    return load_or_problem(engine, name)[1]


def _callback(module: str, name: str, function: Callable[..., Any]) -> Callback:
    allowed = _ARGUMENTS.get(name, ARGUMENTS)
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        raise HandlerInvalid(f"{module}.{name} has no signature: {error}") from error
    for parameter in parameters.values():
        if parameter.name not in allowed or parameter.kind.name.startswith("VAR_"):
            raise HandlerInvalid(
                f"{module}.{name} asks for {str(parameter)!r}; "
                f"{'it' if name == HANDLE else 'a callback'} may ask for {', '.join(allowed)}."
            )
    return Callback(
        name=name,
        invoke=_binder(function, parameters),
        is_async=iscoroutinefunction(function)
        or iscoroutinefunction(getattr(function, "__call__", None)),  # noqa: B004 - an instance's
    )


def _binder(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> Callable[[Call], Any]:
    """Return what calls `function` with the parts of a call that it names.

    Worked out once, since it runs for every message: the common shapes cost one plain call.
    """
    if not parameters:
        return lambda call: function()
    get = attrgetter(*parameters)
    if any(parameter.kind not in _POSITIONAL for parameter in parameters.values()):
        return _mixed_binder(function, parameters)
    if len(parameters) == 1:
        return lambda call: function(get(call))
    return lambda call: function(*get(call))


def _mixed_binder(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> Callable[[Call], Any]:
    positional = [name for name, parameter in parameters.items() if parameter.kind in _POSITIONAL]
    keywords = [name for name in parameters if name not in positional]

    def invoke(call: Call) -> Any:
        return function(
            *(getattr(call, name) for name in positional),
            **{name: getattr(call, name) for name in keywords},
        )

    return invoke
