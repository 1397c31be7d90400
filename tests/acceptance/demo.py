"""The embedded default as its user sees it: `hantar run` in a folder of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from service.store.pool import Connection
from tests.acceptance.processes import Process, Processes
from tests.system import Answer, eventually

#: 988 messages at 50 a second, and as much again for a busy machine.
BULK_SECONDS = 45.0
LAST_LINE = "status=delivered&per_page=1'\n"


@dataclass(frozen=True, slots=True)
class Demo:
    """An embedded default that runs, as its user sees it."""

    process: Process
    data: Path
    printed: str
    url: str
    key: str

    async def call(self, method: str, path: str, body: Any = None, *, url: str = "") -> Answer:
        """One request with the demo's key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        limit = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=limit) as http,
            http.request(method, f"{url or self.url}/api/v1{path}", json=body) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.json())

    async def total(self, status: str) -> int:
        """How many messages have this status."""
        page = await self.call("GET", f"/messages?status={status}&per_page=1")
        total: int = page.json["meta"]["total"]
        return total

    async def delivered(self, count: int, *, within_seconds: float = BULK_SECONDS) -> None:
        """Return once so many messages are delivered."""

        async def look() -> bool:
            return await self.total("delivered") >= count

        await eventually(look, within_seconds=within_seconds)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """The private database, for a look behind the curtain."""
        connection = await asyncpg.connect(
            (self.data / "postgres.url").read_text(), timeout=10.0, command_timeout=10.0
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=5.0)

    async def called(self, count: int) -> None:
        """Return once the simulated WhatsApp got so many calls."""
        async with self.database() as connection:

            async def look() -> bool:
                calls = await connection.fetchval("SELECT count(*) FROM simulator_calls")
                return bool(calls >= count)

            await eventually(look)

    @property
    def postgres_pid(self) -> int:
        return int((self.data / "postgres/data/postmaster.pid").read_text().split()[0])


async def demo(process: Process, data: Path) -> Demo:
    """The embedded default, once it has printed how to use it."""
    printed = await process.says(LAST_LINE)
    await process.ready()
    lines = (data / "demo.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    return Demo(process, data, printed, settings["HANTAR_URL"], settings["HANTAR_API_KEY"])


async def start(
    processes: Processes, *arguments: str, environment: dict[str, str] | None = None
) -> Demo:
    """`hantar run` in the folder of the test."""
    process = processes.start("run", *arguments, environment=environment)
    return await demo(process, processes.folder / ".hantar")
