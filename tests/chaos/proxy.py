"""A TCP proxy of the test's own: it delays, stalls, cuts and half-opens what passes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

Side = Literal["client", "server"]
READ_BYTES = 65536


class Link:
    """One connection through the proxy."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.client_reader, self.client = client
        self.server_reader, self.server = server
        self.left: Side | None = None
        """The side that is still there, and does not know that the other is gone."""

    def leave(self, side: Side) -> None:
        """End the other side; what this one sends is swallowed from now on."""
        self.left = side
        (self.server if side == "client" else self.client).transport.abort()

    def abort(self) -> None:
        """End both sides without a word."""
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a loopback port and passes on to `upstream`: a port, or the path of a
    socket.

    All methods are called in the event loop in which `start` ran.
    """

    def __init__(self, upstream: int | str) -> None:
        self.port = 0
        self._upstream = upstream
        self._links: set[Link] = set()
        self._flows = asyncio.Event()
        self._refuses = False
        self._delay = 0.0
        self._server: asyncio.Server | None = None
        self.heal()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        self._refuses = True
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)

    def delay(self, seconds: float) -> None:
        """Everything takes that much longer, and arrives."""
        self._delay = seconds

    def stall(self) -> None:
        """Nothing passes until `heal`; then all of it does."""
        self._flows.clear()

    def cut(self) -> None:
        """End all connections, and refuse new ones until `heal`."""
        self._refuses = True
        for link in list(self._links):
            link.abort()

    def half_open(self, side: Side) -> None:
        """End all connections as seen from the other side; `side` notices nothing. New
        ones are as usual."""
        for link in list(self._links):
            link.leave(side)

    def heal(self) -> None:
        """Pass everything on at once again."""
        self._delay = 0.0
        self._refuses = False
        self._flows.set()

    def abandon(self, client_port: int) -> None:
        """The client at that port is gone, and the server hears nothing of it."""
        for link in self._links:
            if link.client.get_extra_info("peername")[1] == client_port:
                link.leave("server")
                return

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await self._flows.wait()
            if self._refuses:
                return
            server = await self._connect()
            link = Link((reader, writer), server)
            self._links.add(link)
            try:
                await self._pass_on(link)
            finally:
                self._links.discard(link)
                link.server.transport.abort()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, str):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection("127.0.0.1", self._upstream)

    async def _pass_on(self, link: Link) -> None:
        ways = (
            self._pump(link, "client", link.client_reader, link.server),
            self._pump(link, "server", link.server_reader, link.client),
        )
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _pump(
        self,
        link: Link,
        source: Side,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass on what `source` sends. Ends with an error where a side was reset, which
        then resets the other."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flows.wait()
                if link.left is None:
                    writer.write(data)
                    await writer.drain()
            await self._flows.wait()
            if link.left is None:
                writer.write_eof()
                return
        if link.left is None:
            message = "reset by the other side"
            raise ConnectionResetError(message)
        if link.left == source:
            raise ConnectionAbortedError  # the one that was left has ended as well
