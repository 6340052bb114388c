"""The test suite; its folders mirror those of websockets_app."""
