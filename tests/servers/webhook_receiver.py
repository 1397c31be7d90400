"""A server that takes webhooks, or refuses them as told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Receiver:
    """What it was called with, and how it answers."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: when each call came, in seconds of the epoch
    times: list[float] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """One call."""
        self.times.append(time.time())
        self.calls.append((dict(request.headers), await request.read()))
        if self.hang:
            await asyncio.sleep(60)
        return web.Response(status=self.status, headers=self.headers)

    def documents(self) -> list[Any]:
        """Every body."""
        return [json.loads(body) for _, body in self.calls]

    def events(self) -> list[tuple[str, int]]:
        """Type and message of every change of a message."""
        return [
            (document["type"], event["message_id"])
            for document in self.documents()
            for event in document["data"].get("events", ())
        ]


@asynccontextmanager
async def receiving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    """One that listens, if need be on a port that is free."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        made.url = f"http://{host}:{runner.addresses[0][1]}/hook"
        yield made
    finally:
        await runner.cleanup()
