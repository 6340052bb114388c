"""What one running process and event loop holds, and how it takes part among the others."""
