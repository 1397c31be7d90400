"""Requests that ask leave in the very moment in which they are written, and their whole answers."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload


class NotSent(Exception):
    """Not a byte of the request left: it may be made again."""


class NotAllowed(NotSent):
    """The right to make the request had lapsed."""


class NoAnswer(Exception):
    """The request may have been taken: there is no whole answer that tells."""


class Guarded(BytesPayload):
    """JSON that is written only if `begin()`, asked right before; `made` is called right after.

    aiohttp holds the headers back until the first bytes of the body: refused here, none of the
    request has left.
    """

    def __init__(self, body: bytes, begin: Callable[[], bool], made: Callable[[], None]) -> None:
        super().__init__(body, content_type="application/json")
        self._begin, self._made = begin, made
        self.asked = False
        self.begun = False

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Raises NotAllowed."""
        self.asked = True
        if not self._begin():
            raise NotAllowed
        self.begun = True
        await super().write_with_length(writer, content_length)
        self._made()

    def failure(self, error: Exception) -> NotSent | NoAnswer:
        """What it means for the request that its connection failed with this."""
        if self.begun:
            return NoAnswer(type(error).__name__)
        return NotAllowed() if self.asked else NotSent(type(error).__name__)


async def whole_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body of an answer; raises ClientPayloadError, and reads no further, when it is longer."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            response.close()
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)
