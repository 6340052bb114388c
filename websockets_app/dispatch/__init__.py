"""From a handler reference to a callback that has run."""
