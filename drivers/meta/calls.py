"""HTTP calls to the Graph API, each of which tells whether the request may have been taken."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload

#: Getting a connection: name, TCP, TLS, and the wait for a free one.
CONNECT_SECONDS = 10.0
#: From the request's last byte to each piece of the answer.
READ_SECONDS = 20.0
#: Below the engine's limit of 60 s for a whole call.
TOTAL_SECONDS = 45.0
#: An answer that is longer is not one of Meta's.
ANSWER_LIMIT_BYTES = 64 * 1024
#: Connections to the Graph API of one credential.
CONNECTIONS_LIMIT = 64
#: An idle connection is closed before a server is likely to close it under a request.
KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer."""

    status: int
    body: bytes


class NotSent(Exception):
    """Not a byte of the request left: it may be made again."""


class NotAllowed(NotSent):
    """The right to make the request had lapsed."""


class NoAnswer(Exception):
    """The request may have been taken: there is no whole answer that tells."""


class _Guarded(BytesPayload):
    """A body that asks leave in the very moment in which it is written.

    aiohttp holds the headers back until the first bytes of the body: refused here, none of the
    request has left.
    """

    def __init__(self, body: bytes, begin: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._begin = begin
        self.asked = False
        self.begun = False

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        self.asked = True
        if not self._begin():
            raise NotAllowed
        self.begun = True
        await super().write_with_length(writer, content_length)


class Calls:
    """Calls under one access token."""

    def __init__(self, base_url: str, access_token: str, *, tls: ssl.SSLContext | None = None):
        self._base_url = base_url.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_LIMIT,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                ssl=tls if tls is not None else True,
            ),
            timeout=aiohttp.ClientTimeout(
                total=TOTAL_SECONDS, connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            ),
            headers={
                "Authorization": f"Bearer {access_token}",
                "User-Agent": f"hantar/{version('hantar')}",
                "Accept": "application/json",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection; calls in flight raise NoAnswer."""
        await self._session.close()

    async def post(self, path: str, body: bytes, begin: Callable[[], bool]) -> Answered:
        """The answer to a request whose body is written only if `begin()`, asked right before.

        Raises NotSent when nothing of it left, NoAnswer when it may have been taken.
        """
        guarded = _Guarded(body, begin)
        try:
            async with self._session.post(
                f"{self._base_url}{path}", data=guarded, allow_redirects=False
            ) as response:
                return Answered(response.status, await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if guarded.begun:
                raise NoAnswer(type(error).__name__) from None
            if guarded.asked:
                raise NotAllowed from None
            raise NotSent(type(error).__name__) from None

    async def get(self, path: str) -> Answered:
        """The answer to a question, which changes nothing; raises NoAnswer."""
        try:
            async with self._session.get(
                f"{self._base_url}{path}", allow_redirects=False
            ) as response:
                return Answered(response.status, await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_LIMIT_BYTES:
            response.close()
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)
