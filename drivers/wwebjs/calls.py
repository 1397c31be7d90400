"""Calls to the bridge, over its unix socket or over TCP with its token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from drivers.guarded import Guarded, NoAnswer, whole_body

CONNECT_SECONDS = 2.0
#: The bridge answers a send within 15 s, after those that wait before it.
SEND_SECONDS = 50.0
#: Everything else is answered sooner; a look-up asks the page.
ASK_SECONDS = 7.0
#: It writes a line at least every 10 s.
SILENCE_SECONDS = 25.0
#: A line with the longest text, escaped.
LINE_LIMIT_BYTES = 1024 * 1024
ANSWER_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `body` is empty where it is no object."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The bridge's word for what is wrong; empty when nothing is."""
        code = self.body.get("code")
        return code if isinstance(code, str) else ""


class Calls:
    """Calls to one bridge: a path of a socket, or `http://host:port` with the file of its token."""

    def __init__(self, bridge: str, token_file: str = "") -> None:
        self._is_tcp = bridge.startswith("http://")
        self._bridge = bridge
        self._token_file = token_file
        self._sends = self._session()
        # A stream and questions have connections of their own, beside any number of sends.
        self._asks = self._session()

    def _session(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector = (
            aiohttp.TCPConnector(limit=64)
            if self._is_tcp
            else aiohttp.UnixConnector(self._bridge, limit=64)
        )
        return aiohttp.ClientSession(
            self._bridge if self._is_tcp else "http://bridge",
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=LINE_LIMIT_BYTES,
        )

    def _headers(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        # Read at every call: the bridge may have made a new one.
        return {"Authorization": f"Bearer {Path(self._token_file).read_text().strip()}"}

    async def close(self) -> None:
        """Close every connection; calls in flight raise NoAnswer."""
        await self._sends.close()
        await self._asks.close()

    async def send(
        self, path: str, body: object, begin: Callable[[], bool], made: Callable[[], None]
    ) -> Answer:
        """The answer to a request that is written only if `begin()`, asked right before.

        `made` is called right after.
        Raises NotSent when nothing of it left, NoAnswer when it may have been taken.
        """
        guarded = Guarded(orjson.dumps(body), begin, made)
        try:
            async with self._sends.post(
                path,
                data=guarded,
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(SEND_SECONDS, connect=CONNECT_SECONDS),
            ) as response:
                return await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise guarded.failure(error) from None

    async def ask(self, method: str, path: str, body: object | None = None) -> Answer:
        """The answer to what may be asked any number of times; raises NoAnswer."""
        try:
            async with self._asks.request(
                method,
                path,
                json=body,
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(ASK_SECONDS, connect=CONNECT_SECONDS),
            ) as response:
                return await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None

    @asynccontextmanager
    async def lines(
        self, path: str, silence_seconds: float = SILENCE_SECONDS
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The objects of a stream of lines, empty for a line that is none; raises NoAnswer at its
        end, however it ends."""
        try:
            async with self._asks.get(
                path,
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(
                    None, connect=CONNECT_SECONDS, sock_read=silence_seconds
                ),
            ) as response:
                if response.status != 200:
                    raise NoAnswer(f"status {response.status}")
                yield _objects(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None


async def _objects(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    try:
        while (line := await content.readline()).endswith(b"\n"):
            yield _object(line)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None
    raise NoAnswer("the stream ended")


async def _read(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, _object(await whole_body(response, ANSWER_LIMIT_BYTES)))


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    return document if isinstance(document, dict) else {}
