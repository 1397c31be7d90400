"""HTTP/1.1 as far as the Graph API needs it: a whole request, a whole bounded answer, at low cost.

The grammar is that of llhttp, the parser of Node.js, through httptools. An answer whose end only
the end of its connection tells cannot be told from half of one, and counts as none.
"""

from __future__ import annotations

import asyncio
import select
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

#: An answer that is longer, with its headers, is not one of Meta's.
ANSWER_LIMIT_BYTES = 64 * 1024


class Broken(Exception):
    """There is no whole answer, and the connection is closed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """A connection for one request at a time, given up when nothing comes for `read_seconds`."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser
    _timer: asyncio.TimerHandle

    def __init__(self, read_seconds: float) -> None:
        self._read_seconds = read_seconds
        self._loop = asyncio.get_running_loop()
        self._readable = select.poll()
        self._answer: asyncio.Future[Answered] | None = None
        self._reusable = True
        #: done when the connection is closed
        self.closed: asyncio.Future[None] = self._loop.create_future()
        #: when it was last used (the loop's seconds)
        self.used_at = self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether a request may be made: nothing is in flight, and both sides keep it open."""
        return self._reusable and self._answer is None and not self._transport.is_closing()

    @property
    def unread(self) -> bool:
        """Whether something came that the loop has not seen yet.

        When nothing was asked that is the end of the connection, under the next request.
        """
        return bool(self._readable.poll(0))

    def write(self, request: bytes, until: float) -> None:
        """Write a request, of whose answer nothing is read after `until` (the loop's seconds)."""
        self._answer = self._loop.create_future()
        self._parser = HttpResponseParser(self)
        self._status, self._received, self._body = 0, 0, bytearray()
        self._until, self.used_at = until, self._loop.time()
        self._timer = self._loop.call_at(self._late_at(), self._late)
        self._transport.write(request)

    async def answer(self) -> Answered:
        """The answer to what was written.

        Raises Broken. Cancelled it closes the connection, on which the answer may still come.
        """
        assert self._answer is not None
        try:
            return await self._answer
        except BaseException:
            self.abort()
            raise
        finally:
            self._timer.cancel()
            self._answer = None

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def _late_at(self) -> float:
        return min(self._until, self.used_at + self._read_seconds)

    def _late(self) -> None:
        if self._loop.time() < self._late_at():
            self._timer = self._loop.call_at(self._late_at(), self._late)
        else:
            self._break("TimeoutError")

    def _break(self, reason: str) -> None:
        self._reusable = False
        self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._readable.register(transport.get_extra_info("socket"), select.POLLIN)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._break(type(error).__name__ if error is not None else "ConnectionClosed")
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._answer is None or self._answer.done():
            self._break("nothing was asked")
            return
        self.used_at = self._loop.time()
        self._received += len(data)
        if self._received > ANSWER_LIMIT_BYTES:
            self._break("the answer is too long")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._break(type(error).__name__)
            return
        if self._status:
            self._answer.set_result(Answered(self._status, bytes(self._body)))

    def on_message_begin(self) -> None:
        """Called by the parser; a second answer was not asked for."""
        if self._status:
            self._reusable = False

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if not self._status:
            self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser; a status of 1xx comes before that of the answer."""
        status = self._parser.get_status_code()
        if not self._status and status >= 200:
            self._status = status
            self._reusable = self._parser.should_keep_alive()
