"""Tenants: the schema, or whatever else, in which the users of a handshake are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.utils.module_loading import import_string

from ..conf import app_settings


def tenant_of(scope: Mapping[str, Any]) -> str | None:
    """Return the tenant of a handshake, as `TENANT_OF` says; None for a site without tenants."""
    path = app_settings.TENANT_OF
    return import_string(path)(scope) if path else None


def tenant_context(tenant: str | None) -> AbstractContextManager[object]:
    """Return the context manager in which the tenant's rows are read, as `TENANT_CONTEXT` says."""
    path = app_settings.TENANT_CONTEXT
    if tenant is None or path is None:
        return nullcontext()
    context: AbstractContextManager[object] = import_string(path)(tenant)
    return context
