"""Facts, on their way from memory to the database: never in a handler's way."""
