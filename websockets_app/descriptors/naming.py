"""Which file of a folder each row goes to."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ..models.descriptor import Descriptor
from .kinds import Kind, is_source
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
    former = PurePosixPath(row.source) if is_source(kind, row.source) else None
    plain = folder / (former or _slug(kind, row) + kind.suffix)
    if folded(plain) not in set(map(folded, named)):
        return plain
    told = f"{row.file}\n{kind.identity_of(row)}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    stem = plain.name.removesuffix(kind.suffix)
    return plain.with_name(f"{stem}-{digest}{kind.suffix}")


def folded(path: Path) -> str:
    """Return what names have in common that are one name for some file systems.

    These ignore case, or how a character with an accent is composed.
    """
    return unicodedata.normalize("NFC", str(path)).casefold()


def _slug(kind: Kind, row: Descriptor) -> str:
    plain = _CAPTURE.sub(r"\1", kind.identity_of(row))
    slug = _OTHERS.sub("-", plain).strip("-.")[:_LENGTH]
    return slug or str(kind.noun)
