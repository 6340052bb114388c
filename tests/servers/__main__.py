"""Measure what each server can do, and write it to the documentation."""

import asyncio

from tests.servers import table

if __name__ == "__main__":
    table.write(asyncio.run(table.measure()))
