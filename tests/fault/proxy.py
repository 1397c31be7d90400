"""A TCP proxy that spoils what goes through it: slow, cut, half, or silent without a word."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CONNECT_SECONDS = 5.0
CHUNK_BYTES = 65_536
#: Closed with this, a connection is reset instead of ended.
RESET = struct.pack("ii", 1, 0)


@dataclass
class Way:
    """What happens to the bytes of one direction."""

    latency_seconds: float = 0.0
    bytes_per_second: float | None = None
    slice_bytes: int | None = None
    #: after so many more bytes every connection is reset
    reset_after_bytes: int | None = None
    passing: asyncio.Event = field(default_factory=asyncio.Event)

    def heal(self) -> None:
        self.latency_seconds = 0.0
        self.bytes_per_second = self.slice_bytes = self.reset_after_bytes = None
        self.passing.set()


class Proxy:
    """Between a client, who connects to `port`, and a server, whose port may change."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = True
        #: from the client to the server, and from the server to the client
        self.there = Way()
        self.back = Way()
        self.port = 0
        self.heal()

    def heal(self) -> None:
        """Pass everything from now on."""
        self.there.heal()
        self.back.heal()
        self._accepting = True

    def silence(self, *ways: Way) -> None:
        """Nothing gets through this way, or any, and nobody is told."""
        for way in ways or (self.there, self.back):
            way.passing.clear()

    def refuse(self) -> None:
        """Reset what is there and whoever comes."""
        self._accepting = False
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        for end in list(self._ends):
            _reset(end)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer), name="proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepting:
            _reset(writer)
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(HOST, self._target())
        except (OSError, TimeoutError):
            _reset(writer)
            return
        both = {writer, far_writer}
        self._ends |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(self.there, reader, far_writer), name="proxy:there")
                group.create_task(self._pass(self.back, far_reader, writer), name="proxy:back")
        finally:
            self._ends -= both
            writer.close()
            far_writer.close()

    async def _pass(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(way.slice_bytes or CHUNK_BYTES):
                await way.passing.wait()
                if way.latency_seconds:
                    await asyncio.sleep(way.latency_seconds)
                if way.bytes_per_second:
                    await asyncio.sleep(len(data) / way.bytes_per_second)
                if way.reset_after_bytes is not None:
                    data = data[: way.reset_after_bytes]
                    way.reset_after_bytes -= len(data)
                writer.write(data)
                await writer.drain()
                if way.reset_after_bytes == 0:
                    self.reset()
        except OSError:
            pass  # the other side hears of it below
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None and not writer.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@asynccontextmanager
async def proxy_to(target: Callable[[], int]) -> AsyncIterator[Proxy]:
    """A proxy to whatever port that is at the time; at the end it is cut."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
