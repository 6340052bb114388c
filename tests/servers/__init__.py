"""What each ASGI server can do, measured; ``python -m tests.servers`` writes it to the docs."""
