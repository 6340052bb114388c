"""Rows from files, `*.websocket` and `*.websocket-client`, and back."""
