"""System checks: what an operator can get wrong, each with an id and a hint.

Importing this package registers them. `manage.py check` runs those of the settings,
`check --database default` also those of the rows, `check --deploy` also those of production.
"""

from . import (
    databases,
    entrance,
    layer,
    options,
    postgresql,
    rows,
    shared,
    site,
    sqlite,
    transport,
)

__all__ = [
    "databases",
    "entrance",
    "layer",
    "options",
    "postgresql",
    "rows",
    "shared",
    "site",
    "sqlite",
    "transport",
]
