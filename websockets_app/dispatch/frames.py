"""What goes over the wire for what a callback returns or sends."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder

from ..exceptions import InvalidResult

Frame = str | bytes

QUEUED_COST: Final = 200
"""Bytes of memory that a queue needs for a message, in addition to the message itself."""


def as_json(value: Any) -> str:
    """Return `value` as the text of a JSON message; dates and decimals as Django writes them.

    Raises `TypeError` or `ValueError` for what JSON can't hold, as NaN (RFC 8259 §6).
    """
    return json.dumps(
        value, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def as_frame(result: Any) -> Frame:
    """Return the frame for a callback's result: text, binary, or a dict or list as JSON."""
    if isinstance(result, (str, bytes)):
        return result
    if isinstance(result, (dict, list)):
        return as_json(result)
    raise InvalidResult(
        f"A callback returned {type(result).__name__}; it may return str, bytes, dict, list or "
        "None."
    )


def size_of(message: Frame) -> int:
    """Return the bytes of `message` on the wire; raise `InvalidResult` where text isn't UTF-8."""
    if isinstance(message, bytes) or message.isascii():  # isascii() is a flag, not a scan
        return len(message)
    try:
        return len(message.encode())
    except UnicodeEncodeError as error:
        raise InvalidResult(f"This text can't be sent as UTF-8: {error}") from None


def memory_of(message: Frame) -> int:
    """Return the bytes of memory that a queued message takes.

    Text with one emoji takes four bytes for each character, whatever its size on the wire.
    """
    return sys.getsizeof(message) + QUEUED_COST
