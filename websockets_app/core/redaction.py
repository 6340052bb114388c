"""Secrets in recorded payloads, by the names that they go by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

REDACTED: Final = "…"
_JSON_VALUE: Final = r'"(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s,}\]"]+'


def redactor(names: Iterable[str]) -> Callable[[str], str]:
    """Return a function that hides the values of whatever has one of `names` in its name.

    It knows JSON members, `"token": "…"`, and pairs as in a query, `token=…`; upper and lower
    case are alike. A payload that was cut in the middle of a value is hidden to its end.
    """
    known = "|".join(re.escape(name) for name in names)
    if not known:
        return lambda text: text
    # Lengths are bounded, so that no payload, however made, takes longer than its length.
    member = re.compile(
        rf'("[^"]{{0,64}}?(?:{known})[^"]{{0,64}}"\s*:\s*)({_JSON_VALUE})', re.IGNORECASE
    )
    pair = re.compile(
        rf"(?<![\w.-])([\w.-]{{0,64}}?(?:{known})[\w.-]{{0,64}}=)[^&\s;]+", re.IGNORECASE
    )

    def redact(text: str) -> str:
        return pair.sub(rf"\1{REDACTED}", member.sub(rf'\1"{REDACTED}"', text))

    return redact
