"""What handlers of all processes share: the seed's 2.x `core/globals`."""
