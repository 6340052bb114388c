"""A site that uses websockets_app as any site would: wiring only."""
