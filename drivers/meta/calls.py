"""HTTP calls to the Graph API, each of which tells whether the request may have been taken."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from urllib.parse import urlsplit

from drivers.guarded import NoAnswer, NotAllowed, NotSent
from drivers.meta.wire import Answered, Broken, Connection

#: Connections to the Graph API of one credential.
CONNECTIONS_LIMIT = 64
#: An idle connection is closed before a server is likely to close it under a request.
KEEP_ALIVE_SECONDS = 15.0
#: Until an address that does not answer is given up for the next one (RFC 8305).
NEXT_ADDRESS_SECONDS = 0.25
#: Connections that are closed end within a turn or two of the loop.
CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long the parts of a call may take."""

    #: name, TCP, TLS, and the wait for a free connection
    connect: float = 10.0
    #: from the request, and from each piece of the answer, to the next piece
    read: float = 20.0
    #: the whole of it, below the engine's limit of 60 s
    total: float = 45.0


class Calls:
    """Calls under one access token, of printable ASCII; certificates are verified, as `tls` says.

    Raises ValueError for another base than one of HTTP.
    """

    def __init__(
        self,
        base_url: str,
        access_token: str,
        *,
        tls: ssl.SSLContext | None = None,
        seconds: Seconds | None = None,
    ) -> None:
        self._seconds = seconds or Seconds()
        url = urlsplit(base_url.rstrip("/"))
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("the base URL is none of HTTP")
        self._host = url.hostname
        self._tls = (tls or _verifying()) if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._path = url.path
        self._headers = (
            f"Host: {url.netloc.rpartition('@')[2]}\r\n"
            f"Authorization: Bearer {access_token}\r\n"
            f"User-Agent: hantar/{version('hantar')}\r\n"
            "Accept: application/json\r\n"
        )
        self._slots = asyncio.Semaphore(CONNECTIONS_LIMIT)
        # Those longest unused are first.
        self._kept: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._pruning: asyncio.TimerHandle | None = None
        self._closing = False

    async def close(self) -> None:
        """Close every connection; calls in flight raise NoAnswer."""
        self._closing = True
        if self._pruning is not None:
            self._pruning.cancel()
        for connection in self._open:
            connection.abort()
        if self._open:
            closed = [connection.closed for connection in self._open]
            await asyncio.wait(closed, timeout=CLOSE_SECONDS)

    async def post(
        self,
        path: str,
        body: bytes,
        begin: Callable[[], bool],
        made: Callable[[], None] = lambda: None,
    ) -> Answered:
        """The answer to a request that is written only if `begin()`, asked right before.

        `made` is called right after, with no await between the three.
        Raises NotAllowed when that refused, NotSent when nothing of it left for another reason,
        NoAnswer when it may have been taken.
        """
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\n{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._call(head.encode("ascii") + body, begin, made)

    async def get(self, path: str) -> Answered:
        """The answer to a question, which changes nothing; raises NoAnswer."""
        head = f"GET {self._path}{path} HTTP/1.1\r\n{self._headers}\r\n"
        try:
            return await self._call(head.encode("ascii"), lambda: True)
        except NotSent as error:
            raise NoAnswer(str(error)) from None

    async def _call(
        self,
        request: bytes,
        begin: Callable[[], bool],
        made: Callable[[], None] = lambda: None,
    ) -> Answered:
        until = asyncio.get_running_loop().time() + self._seconds.total
        try:
            connection = await self._taken()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was written
            raise NotSent(type(error).__name__) from None
        try:
            if not begin():
                raise NotAllowed
            connection.write(request, until)
            made()
            return await connection.answer()
        except Broken as error:
            raise NoAnswer(str(error)) from None
        finally:
            self._give_back(connection)

    async def _taken(self) -> Connection:
        """A connection for one call, in its slot; raises what kept it from being made."""
        if not self._slots.locked() and (kept := self._take_kept()):
            await self._slots.acquire()  # at once
            return kept
        async with asyncio.timeout(self._seconds.connect):
            await self._slots.acquire()
            try:
                return self._take_kept() or await self._connect()
            except BaseException:
                self._slots.release()
                raise

    def _take_kept(self) -> Connection | None:
        """The one kept last of those that are still good."""
        good_since = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        while self._kept:
            connection = self._kept.pop()
            if connection.idle and not connection.unread and connection.used_at > good_since:
                return connection
            connection.abort()
        return None

    def _prune(self) -> None:
        """Close what was idle for long, and look again when the next will have been."""
        loop = asyncio.get_running_loop()
        while self._kept and self._kept[0].used_at <= loop.time() - KEEP_ALIVE_SECONDS:
            self._kept.popleft().abort()
        self._pruning = None
        if self._kept:
            at = self._kept[0].used_at + KEEP_ALIVE_SECONDS
            self._pruning = loop.call_at(at, self._prune)

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(Connection, self._seconds.read),
            self._host,
            self._port,
            ssl=self._tls,
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
        )
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        if self._closing or not connection.idle:
            connection.abort()
            raise ConnectionAbortedError
        return connection

    def _give_back(self, connection: Connection) -> None:
        self._slots.release()
        if self._closing or not connection.idle:
            connection.abort()
            return
        self._kept.append(connection)
        if self._pruning is None:
            self._prune()


@cache
def _verifying() -> ssl.SSLContext:
    return ssl.create_default_context()
