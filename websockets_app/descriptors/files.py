"""The JSON of one descriptor file, in and out."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from ..exceptions import InvalidDescriptorFile

MAX_BYTES: Final = 1024 * 1024


def read(path: Path) -> dict[str, Any]:
    """Return the object that the file at `path` holds; raise `InvalidDescriptorFile`."""
    text = _text(path)
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidDescriptorFile(
            f"line {error.lineno}, column {error.colno}: no JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise InvalidDescriptorFile("it is nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidDescriptorFile(f"no JSON that can be read: {error}") from None
    if not isinstance(found, dict):
        raise InvalidDescriptorFile("it must hold one JSON object, as {…}")
    return found


def render(given: Mapping[str, Any]) -> str:
    """Return the text of a file that holds `given`, in that order."""
    return json.dumps(given, indent=2, ensure_ascii=False) + "\n"


def replace(path: Path, text: str) -> None:
    """Put `text` into the file at `path`, which others read whole, the old or the new."""
    target = path.resolve()  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        content = _content(path)
    except OSError as error:
        raise InvalidDescriptorFile(f"it can't be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise InvalidDescriptorFile(f"it is larger than {MAX_BYTES} bytes")
    if content.startswith(b"\xef\xbb\xbf"):
        raise InvalidDescriptorFile("it begins with a byte order mark; save it as plain UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDescriptorFile(f"byte {error.start} is no UTF-8: {error.reason}") from None


def _content(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep its reader waiting
        raise InvalidDescriptorFile("it is no regular file")
    with path.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidDescriptorFile(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidDescriptorFile(f"{name} is no JSON")
