"""What the tests with real servers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.infrastructure.site import Site


@pytest.fixture
def endpoints() -> Callable[..., None]:
    """Create endpoints of a site: ``endpoints(site, echo={"handler": …}, …)``, public by default.

    The path is the keyword, unless the fields have an ``endpoint``.
    """

    def create(site: Site, **rows: dict[str, Any]) -> None:
        described = [{"endpoint": path, "access": "public", **row} for path, row in rows.items()]
        site.shell(f"for row in {described!r}: Endpoint.objects.create(**row)")

    return create
