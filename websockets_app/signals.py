"""Signals that this app sends."""

from __future__ import annotations

from django.dispatch import Signal

descriptors_changed = Signal()
"""Sent after the commit that changed an endpoint or client through Django.

`sender` is the model. It only hurries the nodes: their poll notices what no signal told.
"""

outbox_filled = Signal()
"""Sent after the commit that put something into the outbox, or back into it."""
