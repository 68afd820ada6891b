"""A webhook receiver that accepts all: `python -m bench.webhook_receiver PORT`.

It does as little as it can, because it shares a core with the load generator.
"""

from __future__ import annotations

import asyncio
import re
import sys

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
ACCEPTED = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read one request, and accept it."""
    head = await reader.readuntil(b"\r\n\r\n")
    if found := _LENGTH.search(head):
        await reader.readexactly(int(found[1]))
    writer.write(ACCEPTED)
    await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    server = await asyncio.start_server(accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
