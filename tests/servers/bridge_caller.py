"""Who calls a bridge at its socket, whichever bridge it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

#: a browser on a machine with much else to do
STATE_LIMIT_SECONDS = 120
Json = dict[str, Any]


class BridgeCaller:
    """Asks a bridge, and listens to it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def open(self) -> None:
        """Be able to call."""
        # A bridge that was killed takes its connections along, whether or not that was noticed.
        connector = aiohttp.UnixConnector(str(self.socket), force_close=True)
        self._http = aiohttp.ClientSession("http://bridge", connector=connector)

    async def close(self) -> None:
        """No more calls."""
        await self._http.close()

    async def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Status and body of the answer."""
        async with self._http.request(
            method, path, json=body, headers=headers, timeout=aiohttp.ClientTimeout(100)
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else {}

    async def device(self, device: str) -> Json:
        """The device as the bridge sees it."""
        _, view = await self.call("GET", f"/v1/devices/{device}")
        return view

    async def send(self, device: str, message: str, to: str, text: str) -> tuple[int, Json]:
        """One text."""
        body = {"id": message, "epoch": 1, "to": to, "text": text}
        return await self.call("POST", f"/v1/devices/{device}/messages", body)

    def events(self, after: int = 0) -> AsyncGenerator[Json, None]:
        """Every line of the stream, for as long as the caller listens."""
        return self.lines(f"?after={after}")

    async def lines(self, query: str) -> AsyncGenerator[Json, None]:
        """The same from where the query says."""
        limits = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with self._http.get(f"/v1/events{query}", timeout=limits) as stream:
            async for line in stream.content:
                yield json.loads(line)

    async def until(self, wanted: Callable[[Json], bool], after: int = 0) -> Json:
        """The first event that is wanted."""
        async with asyncio.timeout(STATE_LIMIT_SECONDS):
            async for event in self.events(after):
                if "seq" in event and "device" in event and wanted(event):
                    return event
        raise AssertionError("the stream ended")

    async def seq(self) -> int:
        """The number of the newest event."""
        _, health = await self.call("GET", "/v1/health")
        return int(health["seq"])

    async def reaches(self, device: str, state: str, after: int = 0) -> Json:
        """The event with which the device comes into the state."""
        return await self.until(
            lambda e: e["type"] == "state" and e["device"] == device and e["state"] == state, after
        )
