"""The seed's chat."""
