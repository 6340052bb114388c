"""What the tests stand on: real servers, real processes, a real browser, and waiting for them."""
