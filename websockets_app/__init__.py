"""WebSockets as rows of the Django admin."""

__version__ = "0.1.0"
