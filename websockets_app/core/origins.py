"""Origins of web pages, as browsers send them (RFC 6454 §7)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s\\/?#@\[\]:,]+)(?::([0-9]{1,5}))?/?",
    re.IGNORECASE,
)


class Origin(NamedTuple):
    """The parts of an origin, in lower case, the default port filled in."""

    scheme: str
    host: str
    port: int | None


def parse_origin(origin: str) -> Origin | None:
    """Return the parts of an origin, or None if it is none.

    An origin has nothing else: no user, no path, and no character that one program reads as the
    end of the host, and another as a part of it.
    """
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return None
    scheme, host, port = found[1].lower(), found[2].lower(), found[3]
    return Origin(scheme, host, int(port) if port else DEFAULT_PORTS.get(scheme))
