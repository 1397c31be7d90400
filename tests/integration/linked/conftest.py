"""Hantar sending through linked devices of a bridge of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from drivers.wwebjs.names import Names
from service.store import accounts
from service.store.pool import Pool
from tests.servers.fake_bridge import FakeBridge, fake_bridge
from tests.system import Account, Hantar, eventually, run_app


@dataclass(frozen=True, slots=True)
class Fleet:
    """Linked devices of an account."""

    hantar: Hantar
    bridge: FakeBridge
    account: Account
    names: Names

    async def add(self, me: str) -> int:
        """One more device, with its phone."""
        limits = {"per_second": 40, "per_minute": None, "jitter_seconds": 0}
        body = {"name": f"Phone {me}", "driver": "wwebjs", "limits": limits}
        answer = await self.hantar.post("/devices", self.account, body)
        assert answer.status == 201, answer.json
        device_id: int = answer.json["data"]["id"]
        name = self.names.device(device_id)
        self.bridge.link(name, me)
        self.bridge.move(name, "ready", me=me)
        await self.until(device_id, "ready")
        return device_id

    async def until(self, device_id: int, state: str) -> None:
        """Wait until the device is shown in this state."""

        async def shown() -> bool:
            answer = await self.hantar.get(f"/devices/{device_id}", self.account)
            return bool(answer.json["data"]["state"] == state)

        await eventually(shown)

    async def bulk(self, device_id: int, count: int, first: int = 2_000_000) -> list[int]:
        """Queue messages to as many people."""
        items = [{"phone": f"+6012{first + n}", "body": f"Salam {n}"} for n in range(count)]
        body = {"messages": items, "device": device_id}
        answer = await self.hantar.post("/messages/bulk", self.account, body)
        assert answer.status == 202, answer.json
        return [item["id"] for item in answer.json["queued"]]

    async def statuses(self) -> dict[str, int]:
        """How many messages have got how far."""
        rows = await self.hantar.pool.fetch("SELECT status, count(*) FROM messages GROUP BY 1")
        return {row["status"]: row["count"] for row in rows}

    def accepted(self) -> list[str]:
        """What WhatsApp made a message of, once for each time it did."""
        return [sending.id for sending in self.bridge.journal if sending.accepted]


@asynccontextmanager
async def running(dsn: str, pool: Pool, bridge: FakeBridge) -> AsyncIterator[Fleet]:
    """Hantar, which sends through the bridge, and an account."""
    async for hantar in run_app(dsn, pool, wwebjs_bridge=str(bridge.socket)):
        async with pool.acquire() as connection:
            installation = await accounts.installation(connection)
        assert installation is not None
        account = await hantar.account(device=False, credits=2000)
        yield Fleet(hantar, bridge, account, Names(installation.secret))


@pytest.fixture
async def bridge() -> AsyncIterator[FakeBridge]:
    async with fake_bridge() as opened:
        yield opened


@pytest.fixture
async def fleet(dsn: str, pool: Pool, bridge: FakeBridge) -> AsyncIterator[Fleet]:
    async with running(dsn, pool, bridge) as opened:
        yield opened
