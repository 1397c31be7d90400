"""HTTP calls to the Graph API, each of which tells whether the request may have been taken."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import aiohttp

from drivers.guarded import Guarded, NoAnswer, whole_body

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
        guarded = Guarded(body, begin)
        try:
            async with self._session.post(
                f"{self._base_url}{path}", data=guarded, allow_redirects=False
            ) as response:
                return Answered(response.status, await whole_body(response, ANSWER_LIMIT_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise guarded.failure(error) from None

    async def get(self, path: str) -> Answered:
        """The answer to a question, which changes nothing; raises NoAnswer."""
        try:
            async with self._session.get(
                f"{self._base_url}{path}", allow_redirects=False
            ) as response:
                return Answered(response.status, await whole_body(response, ANSWER_LIMIT_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None
