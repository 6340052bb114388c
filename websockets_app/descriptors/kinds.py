"""The two kinds of descriptor files, and the keys that each may have."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeAlias

from django.db import models

from ..models import Client, Endpoint
from ..models.descriptor import Descriptor
from ..models.patterns import url_key
from ..models.primary import rows_to_write

KeyField: TypeAlias = "models.Field[Any, Any]"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind: its keys are the fields that people may edit in the admin."""

    model: type[Descriptor]
    suffix: str
    identity: str
    """The key whose value no two rows share."""
    unique_key: Callable[[str], Hashable]
    """Return what two identities have in common if they can't both have a row."""
    required: tuple[str, ...]
    """The keys without which a file says too little, the identity aside where it has a default."""
    switch: str
    """What operators turn: a file that doesn't mention it leaves it as they did."""
    named_by_stem: bool = False
    """Whether the file's name stands in for an identity that the file doesn't say."""

    @property
    def noun(self) -> str:
        return str(self.model._meta.model_name)

    @cached_property
    def fields(self) -> dict[str, KeyField]:
        """The keys, in the order in which they are written, with the fields of the model."""
        meta = self.model._meta
        editable = {
            field.name: field
            for field in (*meta.concrete_fields, *meta.many_to_many)
            if field.editable and not field.primary_key
        }
        first = (self.identity, *self.required)
        return {name: editable[name] for name in dict.fromkeys((*first, *editable))}

    @cached_property
    def relations(self) -> frozenset[str]:
        """The keys whose values are names of other rows."""
        return frozenset(name for name, field in self.fields.items() if field.many_to_many)

    def rows(self) -> models.QuerySet[Descriptor]:
        """Return all rows, with the rows that they relate to."""
        others: dict[str, Any] = {name: self.fields[name].related_model for name in self.relations}
        return self.model._default_manager.prefetch_related(
            *(models.Prefetch(name, rows_to_write(model)) for name, model in others.items())
        )

    def defaults(self, stem: str) -> dict[str, Any]:
        """Return what holds for the keys that a file named `stem` doesn't have."""
        found = {
            name: [] if name in self.relations else field.get_default()
            for name, field in self.fields.items()
        }
        return found | {self.identity: stem} if self.named_by_stem else found

    def values_of(self, row: Descriptor) -> dict[str, Any]:
        """Return the values of `row` by key; of what it relates to, the sorted names."""
        return {
            name: sorted(str(other) for other in getattr(row, name).all())
            if name in self.relations
            else getattr(row, name)
            for name in self.fields
        }

    def identity_of(self, row: Descriptor) -> str:
        return str(getattr(row, self.identity))

    def unique_key_of(self, row: Descriptor) -> Hashable:
        return self.unique_key(self.identity_of(row))


ENDPOINTS: Final = Kind(
    model=Endpoint,
    suffix=".websocket",
    identity="endpoint",
    unique_key=url_key,
    required=("endpoint", "handler"),
    switch="enabled",
)
CLIENTS: Final = Kind(
    model=Client,
    suffix=".websocket-client",
    identity="name",
    unique_key=str,
    required=("uri", "handler"),
    switch="desired",
    named_by_stem=True,
)
KINDS: Final = (ENDPOINTS, CLIENTS)


def kind_of(path: PurePath) -> Kind | None:
    """Return the kind of the file at `path`, or None where it is no descriptor file."""
    if path.name.startswith("."):  # an editor's, or one that is still being written
        return None
    return next((kind for kind in KINDS if path.name.endswith(kind.suffix)), None)


def is_source(kind: Kind, source: str) -> bool:
    """Return whether `source`, of a row, is the path of a file of `kind` below its root.

    On no system may it lead out of the root, so a drive and a backslash are refused everywhere.
    """
    path = PurePosixPath(source)
    is_below = not PureWindowsPath(source).anchor and "\\" not in source and ".." not in path.parts
    return is_below and source.isprintable() and kind_of(path) is kind


def kind_of_row(row: Descriptor) -> Kind:
    """Return the kind of the files that describe rows of this model."""
    return next(kind for kind in KINDS if isinstance(row, kind.model))


def stem_of(kind: Kind, path: PurePath) -> str:
    return path.name.removesuffix(kind.suffix)
