"""The handlers that are measured, besides the demo's echo."""
