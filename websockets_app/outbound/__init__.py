"""Clients: sockets that this site opens, kept open by the runner."""
