"""Payloads as they are stored: hashed, without secrets, and cut. For the writer's thread."""

from __future__ import annotations

import hashlib
from typing import Final

from ..core.redaction import REDACTED
from ..redaction import redactor
from .facts import UNREDACTED, Fact

PAYLOAD_LIMIT: Final = 16 * 1024
"""Bytes of a payload that are kept; its size and SHA-256 are those of the whole."""


def redact_payloads(facts: list[Fact]) -> None:
    """Replace the payloads in `facts` that are still as they were sent."""
    for index, fact in enumerate(facts):
        if fact.sha256 is UNREDACTED:
            facts[index] = _redacted(fact)


def _redacted(fact: Fact) -> Fact:
    message = fact.payload
    raw = message.encode() if isinstance(message, str) else message
    shown = _text(message) if isinstance(message, str) else _hex(message)
    return fact._replace(sha256=hashlib.sha256(raw).hexdigest(), payload=shown)


def _text(message: str) -> str:
    shown = redactor().payload(message, PAYLOAD_LIMIT)
    cut = shown[:PAYLOAD_LIMIT].encode(errors="replace")[:PAYLOAD_LIMIT]
    return cut.decode(errors="ignore")  # a character that is cut in two is left out


def _hex(message: bytes) -> str:
    shown = redactor().binary_payload(message, PAYLOAD_LIMIT)
    return REDACTED if shown is None else shown[:PAYLOAD_LIMIT].hex()
