"""The events of a bridge without browsers: numbered, kept until acknowledged, told to readers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
from aiohttp import web

LOG_ID = "log"
HEARTBEAT_SECONDS = 10.0
_boots = count(1)


class Events:
    """They outlive `interrupt`, as those of a bridge outlive its process."""

    def __init__(self) -> None:
        self.boot_id = f"boot {next(_boots)}"
        self.acknowledged = 0
        self.last = 0
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        #: those that are kept, by their numbers
        self._lines: dict[int, bytes] = {}
        self._news = asyncio.Event()

    def tell(self, device: str, type_: str, **members: object) -> None:
        """Write an event."""
        event = {"seq": self.last + 1, "boot_id": self.boot_id, "at": now(), "device": device}
        self.write(orjson.dumps(event | {"type": type_} | members))

    def write(self, line: bytes) -> None:
        """Write whatever it is where an event belongs."""
        self.last += 1
        self._lines[self.last] = line
        self._wake()

    def acknowledge(self, upto: int) -> None:
        """Once all are, none is kept."""
        self.acknowledged = max(self.acknowledged, upto)
        if self.acknowledged == self.last:
            self._lines.clear()

    def interrupt(self) -> None:
        """The process ends: so do the streams, and another boot follows."""
        self.boot_id = f"boot {next(_boots)}"
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A stream of lines, for as long as it is read and this boot lasts."""
        response = web.StreamResponse()
        await response.prepare(request)
        boot, told = self.boot_id, int(request.query.get("after", self.acknowledged))
        hello = {"type": "hello", "protocol": 1, "boot_id": boot, "log_id": LOG_ID}
        await _put(response, hello | {"seq": self.last})
        if request.query.get("log", LOG_ID) != LOG_ID:
            await _put(response, {"type": "gap", "from": told + 1, "to": 0})
            told = self._first() - 1
        while self.boot_id == boot:
            news = self._news
            if told < self._first() - 1:
                await _put(response, {"type": "gap", "from": told + 1, "to": self._first() - 1})
                told = self._first() - 1
            for number, line in list(self._lines.items()):
                if number > told:
                    await response.write(line + b"\n")
            told = self.last
            try:
                await asyncio.wait_for(news.wait(), self.heartbeat_seconds)
            except TimeoutError:
                await _put(response, {"type": "heartbeat", "at": now(), "seq": self.last})
        return response

    def _first(self) -> int:
        return next(iter(self._lines), self.last + 1)


async def _put(response: web.StreamResponse, line: dict[str, Any]) -> None:
    await response.write(orjson.dumps(line) + b"\n")


def now() -> str:
    """As a bridge writes the time."""
    # Rounded up, as a code is not issued before it was asked for.
    at = -(-datetime.now(UTC).timestamp() * 1000 // 1) / 1000
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
