"""What a descriptor file says, checked as the admin checks what people type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models

from ..core.text import can_be_stored, tame
from ..dispatch.loader import resolve_typed
from ..dispatch.services import resolve_services
from ..exceptions import (
    ConfigurationError,
    HandlerProblem,
    InvalidDescriptorFile,
    UnknownEngine,
)
from . import files
from .kinds import KeyField, Kind, stem_of
from .roots import Place


@dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    """A good file: what it says, and what that means for a row."""

    kind: Kind
    place: Place
    given: Mapping[str, Any]
    """The file's own keys and values."""
    values: Mapping[str, Any]
    """What its row is to hold; without the switch where the file doesn't mention it."""

    @property
    def identity(self) -> str:
        return str(self.values[self.kind.identity])

    @cached_property
    def unique_key(self) -> Hashable:
        return self.kind.unique_key(self.identity)

    def differing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the file says otherwise than `values`, those of a row."""
        return {name: value for name, value in self.values.items() if values[name] != value}


def read(kind: Kind, place: Place) -> Document:
    """Return what the file at `place` says; raise `InvalidDescriptorFile`."""
    given = files.read(place.path)
    _check_keys(kind, given)
    values = {**kind.defaults(stem_of(kind, place.path)), **given}
    for name in kind.relations:
        values[name] = sorted(set(values[name]))
    values["handler"] = _resolve(values["engine"], values["handler"])
    values |= _validated(kind, place, values)
    if "services" in kind.fields:
        values["services"] = _resolve_services(values["services"])
    if kind.switch not in given:
        del values[kind.switch]
    return Document(kind=kind, place=place, given=given, values=values)


def _check_keys(kind: Kind, given: Mapping[str, Any]) -> None:
    unknown = [name for name in given if name not in kind.fields]
    if unknown:
        raise InvalidDescriptorFile(
            f"unknown key {', '.join(map(repr, unknown))}; the keys are {', '.join(kind.fields)}"
        )
    if missing := [name for name in kind.required if name not in given]:
        raise InvalidDescriptorFile(f"the key {', '.join(map(repr, missing))} is missing")
    problems = [
        f"{name}: {problem}"
        for name, value in given.items()
        if (problem := _type_problem(kind.fields[name], value))
    ]
    if problems:
        raise InvalidDescriptorFile("; ".join(problems))


def _resolve(engine: str, handler: str) -> str:
    try:
        return resolve_typed(engine, handler)
    except (UnknownEngine, ConfigurationError) as problem:
        raise InvalidDescriptorFile(f"engine: {problem}") from None
    except HandlerProblem as problem:
        raise InvalidDescriptorFile(f"handler: {problem}") from None


def _resolve_services(references: list[str]) -> list[str]:
    try:
        return resolve_services(references)
    except (HandlerProblem, ConfigurationError) as problem:
        raise InvalidDescriptorFile(f"services: {problem}") from None


def _validated(kind: Kind, place: Place, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as the model stores them; raise `InvalidDescriptorFile` for invalid ones."""
    plain = {name: value for name, value in values.items() if name not in kind.relations}
    row = kind.model(source_root=place.root, source=place.source, **plain)
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
        row.refuse_related([name for name in kind.relations if values[name]])
    except ValidationError as error:
        told = [
            f"{name}: {' '.join(messages)}{_allowed(kind.fields.get(name))}"
            for name, messages in error.message_dict.items()
        ]
        raise InvalidDescriptorFile("; ".join(told)) from None
    return {name: getattr(row, name) for name in plain}


def _allowed(field: KeyField | None) -> str:
    choices = field and field.flatchoices
    return f" It may be {', '.join(str(value) for value, _ in choices)}." if choices else ""


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


_TYPES: Final[tuple[tuple[type[KeyField], str, Callable[[Any], bool]], ...]] = (
    (models.BooleanField, "true or false", lambda value: isinstance(value, bool)),
    (models.IntegerField, "a whole number", lambda value: type(value) is int),
    (models.FloatField, "a number", _is_number),
)


def _type_problem(field: KeyField, value: Any) -> str:
    """Return what is wrong with the type of `value`, or an empty string."""
    expected, is_right = _expected(field)
    if field.null:
        expected += " or null"
    if not (is_right(value) or (value is None and field.null)):
        return f"write {expected}, not {_shown(value)}"
    if not all(map(can_be_stored, _texts(value))):
        return "it holds a character that no database keeps (NUL or half a surrogate pair)"
    return ""


def _expected(field: KeyField) -> tuple[str, Callable[[Any], bool]]:
    if field.many_to_many:
        return "a list of names", _is_list_of_strings
    if isinstance(field, models.JSONField):
        kind = type(field.get_default())
        return ("a list" if kind is list else "an object"), lambda value: isinstance(value, kind)
    for of_type, expected, is_right in _TYPES:
        if isinstance(field, of_type):
            return expected, is_right
    return "a string", lambda value: isinstance(value, str)


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _texts(value: Any) -> list[str]:
    """Return the strings of `value`. Whatever is nested deeper, the model refuses."""
    items: list[Any] = [value]
    if isinstance(value, list):
        items = value
    elif isinstance(value, dict):
        items = [*value, *value.values()]
    return [item for item in items if isinstance(item, str)]


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return tame(json.dumps(value), 40)
