"""Sample handlers. They import nothing of the app but its public API."""
