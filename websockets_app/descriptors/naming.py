"""Which file of a folder each row goes to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ..models.descriptor import Descriptor
from .kinds import Kind
from .roots import Roots

_CAPTURE: Final = re.compile(r"<(?:[^<>:]*:)?([^<>:]*)>")
_OTHERS: Final = re.compile(r"[^\w.]+")
_LENGTH: Final = 80


def paths_for(
    kind: Kind, rows: Sequence[Descriptor], folder: Path, roots: Roots
) -> dict[Path, Descriptor]:
    """Give each of `rows` a file below `folder` of its own: the one that it has, if any.

    Others are named after their former file, or after the endpoint or client. A name that is
    taken gets a suffix that is the same each time.
    """
    named: dict[Path, Descriptor] = {}
    others = []
    for row in rows:
        path = roots.path_of(row) if row.source else None
        if path is not None and path.is_relative_to(folder):
            named[path] = row
        else:
            others.append(row)
    for row in others:
        named[_free_path(kind, row, folder, named)] = row
    return named


def _free_path(kind: Kind, row: Descriptor, folder: Path, named: dict[Path, Descriptor]) -> Path:
    plain = folder / (_former(row) or _slug(kind, row) + kind.suffix)
    taken = {str(path).casefold() for path in named}  # not every file system tells case apart
    if str(plain).casefold() not in taken:
        return plain
    told = f"{row.file}\n{kind.identity_of(row)}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    stem = plain.name.removesuffix(kind.suffix)
    return plain.with_name(f"{stem}-{digest}{kind.suffix}")


def _former(row: Descriptor) -> PurePosixPath | None:
    former = PurePosixPath(row.source)
    is_below = row.source and not former.is_absolute() and ".." not in former.parts
    return former if is_below else None


def _slug(kind: Kind, row: Descriptor) -> str:
    plain = _CAPTURE.sub(r"\1", kind.identity_of(row))
    slug = _OTHERS.sub("-", plain).strip("-.")[:_LENGTH]
    return slug or str(kind.noun)
