"""What may be shared: JSON, and handles of sessions and clients, by their ids. Never pickles.

A handle is written as `{"$session": id}`. A `$` that begins another name is doubled, so that
nothing a peer has sent can be read back as a handle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from ..conf import app_settings
from ..exceptions import InvalidShared
from ..inbound.handle import WebsocketSession
from ..node.handles import PeerHandle
from ..outbound.handle import WebsocketClient

KEY_LENGTH: Final = 200
MEMBER_LENGTH: Final = 500
MEMBER_BYTES: Final = 1500
"""With the longest key, what PostgreSQL takes into an index (2704 bytes for a row of it)."""
MAX_MEMBERS: Final = 10_000
MAX_TIMEOUT: Final = timedelta(days=36_525)
_HANDLES: Final[Mapping[str, type[PeerHandle]]] = {
    "$session": WebsocketSession,
    "$client": WebsocketClient,
}


def check_key(key: object) -> None:
    """Raise `InvalidShared` where `key` is no string that every store can hold."""
    if not isinstance(key, str) or not key:
        raise InvalidShared(f"A shared key is a string, and not empty; this is {key!r:.80}.")
    if len(key) > KEY_LENGTH:
        raise InvalidShared(
            f"A shared key has up to {KEY_LENGTH} characters; {key:.40}… has {len(key)}."
        )
    _check_text(key)


def packed(value: Any) -> Any:
    """Return `value` as plain JSON values; raise `InvalidShared` for anything else."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _check_text(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [packed(item) for item in value]
    if isinstance(value, Mapping):
        return {_packed_name(name): packed(item) for name, item in value.items()}
    return _packed_handle(value)


def unpacked(value: Any) -> Any:
    """Return what `packed` made `value` of; tuples have become lists."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in _HANDLES:
            return _HANDLES[name](inner)
    return {name.removeprefix("$"): unpacked(item) for name, item in value.items()}


def as_value(value: Any) -> Any:
    """Return `value` packed; raise `InvalidShared` where it is too large or no JSON."""
    plain = _packed_whole(value)
    size, allowed = len(_written(plain).encode()), app_settings.SHARED_VALUE_SIZE
    if size > allowed:
        raise InvalidShared(
            f"This value has {size} bytes; WEBSOCKETS['SHARED_VALUE_SIZE'] allows {allowed}."
        )
    return plain


def as_member(member: Any) -> str:
    """Return the one text that stands for `member`; raise `InvalidShared`."""
    text = _written(_packed_whole(member))
    if len(text) > MEMBER_LENGTH:
        raise InvalidShared(
            f"A member has up to {MEMBER_LENGTH} characters as JSON; this has {len(text)}."
        )
    if (size := len(text.encode())) > MEMBER_BYTES:
        raise InvalidShared(f"A member has up to {MEMBER_BYTES} bytes as JSON; this has {size}.")
    return text


def member_of(text: str) -> Any:
    """Return the member that `text` stands for."""
    return unpacked(json.loads(text))


def as_timeout(timeout: float | timedelta | None) -> timedelta | None:
    """Return `timeout`, in seconds where it is a number, as one; raise `InvalidShared`."""
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidShared(f"A timeout is in seconds, or a timedelta; this is {timeout!r:.80}.")
    if not 0 < seconds <= MAX_TIMEOUT.total_seconds():
        raise InvalidShared(
            f"A timeout is longer than 0 and at most 100 years; this is {timeout!r:.80}."
        )
    return timedelta(seconds=seconds)


def check_number(members: int) -> None:
    """Raise `InvalidShared` where a key that has so many members can't have another."""
    if members >= MAX_MEMBERS:
        raise InvalidShared(f"A shared key has up to {MAX_MEMBERS} members.")


def _packed_whole(value: Any) -> Any:
    try:
        return packed(value)
    except RecursionError:
        raise InvalidShared("This value contains itself, or is nested too deeply.") from None


def _written(plain: Any) -> str:
    try:
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except (RecursionError, ValueError) as error:  # an integer of thousands of digits
        raise InvalidShared(f"This can't be written as JSON: {error}") from None


def _packed_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidShared(f"The names in a shared dict are strings; {name!r:.80} is none.")
    return f"${_check_text(name)}" if name.startswith("$") else _check_text(name)


def _packed_handle(value: object) -> dict[str, str]:
    for name, kind in _HANDLES.items():
        if isinstance(value, kind):
            return {name: value.id}
    raise InvalidShared(
        f"{type(value).__name__} can't be shared: only what JSON holds, and handles of sessions "
        "and clients."
    )


def _check_text(text: str) -> str:
    """Return `text`, which a database has to be able to hold (PostgreSQL holds no NUL)."""
    if "\0" in text:
        raise InvalidShared("A NUL character can't be shared.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidShared("A text with half of a surrogate pair can't be shared.") from None
    return text
