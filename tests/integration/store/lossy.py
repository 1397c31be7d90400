"""A way to the database on which answers get lost, or that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_CHUNK = 65_536


class LossyWay:
    """Passes bytes to the server and back, until it is told otherwise."""

    def __init__(self, server: str) -> None:
        self._host, self._port = urlsplit(server).hostname, urlsplit(server).port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._to_lose = 0
        self._is_cut = False
        self.dsn = server
        self.lost = 0

    def lose(self, answers: int) -> None:
        """The server's next answers do not arrive; each takes its connection with it."""
        self._to_lose = answers

    def cut(self) -> None:
        """Nothing passes any more, and nobody is connected."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """From now on connections pass again."""
        self._is_cut = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LossyWay]:
        """Listen on a free port, which `dsn` names then."""
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        self.dsn = self.dsn.replace(f":{self._port}/", f":{port}/")
        try:
            yield self
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        if self._is_cut:
            answers.transport.abort()
            return
        server, requests = await asyncio.open_connection(self._host, self._port)
        pumps = [
            asyncio.create_task(self._pump(client, requests, answer=False)),
            asyncio.create_task(self._pump(server, answers, answer=True)),
        ]
        self._tasks.update(pumps)
        self._writers.update((requests, answers))
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for writer in (requests, answers):
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answer: bool
    ) -> None:
        while chunk := await source.read(_CHUNK):
            if answer and self._to_lose:
                self._to_lose -= 1
                self.lost += 1
                return
            target.write(chunk)
            await target.drain()
