"""HTTP as bare bytes, for what no client library would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson

from tests.system import Account, Answer, Hantar

_WITHIN_SECONDS = 5.0
JSON = b"Content-Type: application/json"
SEND = b"POST /api/v1/messages/send HTTP/1.1"
LIST = b"GET /api/v1/messages HTTP/1.1"
BODY = b'{"phone":"0123456789","body":"hello"}'


class Wire:
    """One connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)
        await asyncio.wait_for(self._writer.drain(), _WITHIN_SECONDS)

    async def hear(self) -> Answer:
        """The next answer."""
        async with asyncio.timeout(_WITHIN_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers.get("Content-Length", 0)))
        is_json = "json" in headers.get("Content-Type", "")
        return Answer(
            int(head[0].split()[1]), headers, orjson.loads(body) if is_json else body.decode()
        )

    async def ended(self) -> bool:
        """Wait until the other side closes; whether it did so without another word."""
        return await asyncio.wait_for(self._reader.read(), _WITHIN_SECONDS) == b""

    def finish(self) -> None:
        """Say that nothing more will be sent, but go on listening."""
        self._writer.write_eof()

    def hang_up(self) -> None:
        """Leave without a good-bye."""
        self._writer.transport.abort()


@asynccontextmanager
async def wire(address: str) -> AsyncIterator[Wire]:
    """A connection to this address."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def exchange(hantar: Hantar, data: bytes) -> Answer:
    """The answer to these bytes on a connection of their own."""
    async with wire(hantar.api) as connection:
        await connection.say(data)
        return await connection.hear()


def request(
    account: Account, first: bytes, *lines: bytes, body: bytes = b"", host: bytes | None = b"test"
) -> bytes:
    """A request of the account's: a request line, further header lines, a body as it is."""
    head = [first, b"Authorization: Bearer " + account.key.encode(), *lines]
    if host is not None:
        head.append(b"Host: " + host)
    return b"\r\n".join([*head, b"", body])


def length(body: bytes) -> bytes:
    """The header line that tells the length of a body."""
    return b"Content-Length: %d" % len(body)
