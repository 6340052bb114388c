"""TLS towards a peer: whom to trust."""

from __future__ import annotations

import ssl
from functools import lru_cache


@lru_cache(maxsize=256)
def context(verify: bool, ca_certificates: str) -> ssl.SSLContext:
    """Return the context for a client that trusts `ca_certificates` (PEM), or the system's own.

    Kept, since reading the system's certificates takes milliseconds of the event loop. Raises
    `ssl.SSLError`, `TypeError` or `ValueError` where the text holds no certificate.
    """
    made = ssl.create_default_context(cadata=ca_certificates or None)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def problem_of(verify: bool, ca_certificates: str) -> str:
    """Return why the certificates can't be used, or an empty string."""
    try:
        context(verify, ca_certificates)
    except (ssl.SSLError, TypeError, ValueError) as error:
        return f"Its CA certificates can't be read as PEM: {error}"
    return ""
