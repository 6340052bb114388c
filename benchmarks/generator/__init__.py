"""The generator: a process that opens connections, talks, and measures what that costs a server.

`Load` says what it is to do, `driver.run` lets it be done, and `Work` is what was found. It is a
program of its own, ``python -m benchmarks.generator``, with a core and an event loop to itself.
"""
