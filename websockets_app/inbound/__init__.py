"""Endpoints being served: from a handshake to the end of a session."""
