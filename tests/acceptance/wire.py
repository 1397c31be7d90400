"""A TCP relay that can fall silent, as a network does: connections stay, nothing arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
CONNECT_SECONDS = 5.0
CHUNK_BYTES = 65_536


class Wire:
    """Passes bytes both ways between its own port and another, until it is silenced."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._passing = asyncio.Event()
        self._passing.set()
        self.port = 0

    def silence(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._passing.clear()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        async with asyncio.timeout(CONNECT_SECONDS):
            far_reader, far_writer = await asyncio.open_connection(HOST, self._to_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer), name="wire:there")
                group.create_task(self._pass(far_reader, writer), name="wire:back")
        finally:
            writer.close()
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # killed: the other side hears of it below
        writer.close()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """A wire to a port of this machine; at the end it is cut."""
    wire = Wire(port)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(wire.carry(reader, writer), name="wire")
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, HOST, 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
