"""An installation on real servers: its processes, an account with devices, and the facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from service.store.pool import Pool, open_pool
from tests.acceptance.processes import ROOT, Process, Processes
from tests.system import Answer, eventually

SAMPLE = ROOT / "schemas/examples/bulk-1000.json"
VALID = 988
CREDITS = 5000
PER_SECOND = 80
SHARDS = 2
SETTINGS = {
    "HANTAR_SHARDS": str(SHARDS),
    "HANTAR_LEASE_SECONDS": "2",
    "HANTAR_DOUBT_SECONDS": "8",
    # A WhatsApp that cannot repeat a send: whoever calls it twice is found out.
    "HANTAR_SIMULATOR_DEDUPE": "off",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """A database and a broker, an account with a key, and a device on each of two shards."""

    processes: Processes
    pool: Pool
    account: int
    key: str
    #: device by shard
    devices: dict[int, int]

    async def run(self, *roles: str) -> list[Process]:
        """A process for each of these roles, all ready, each shard in the hands of one."""
        started = [self.processes.start("run", "--roles", role) for role in roles]
        await asyncio.gather(*(process.ready() for process in started))
        return started

    async def stop(self, *running: Process) -> None:
        """SIGTERM for each; every one has to end in order."""
        codes = await asyncio.gather(*(process.terminate() for process in running))
        assert codes == [0] * len(running)

    async def bulk(self, ingress: Process, body: Any, *, key: str | None = None) -> Answer:
        """POST a bulk of the account."""
        api, _ = await ingress.ready()
        headers = {"Authorization": f"Bearer {self.key}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        limit = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=limit) as http,
            http.post(f"{api}/api/v1/messages/bulk", json=body) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.json())

    def sample(self) -> list[dict[str, Any]]:
        """The messages of the sample bulk, every other one for the device of the other shard."""
        messages: list[dict[str, Any]] = orjson.loads(SAMPLE.read_bytes())["messages"]
        return [
            message | {"device": self.devices[place % SHARDS]}
            for place, message in enumerate(messages)
        ]

    async def owners(self) -> dict[int, tuple[str | None, int]]:
        """Who holds each shard, and since which epoch."""
        rows = await self.pool.fetch("SELECT shard, owner, epoch FROM shard_leases")
        return {row["shard"]: (row["owner"], row["epoch"]) for row in rows}

    async def shared_out(self) -> None:
        """Return once each shard has an owner of its own."""

        async def look() -> bool:
            owners = {owner for owner, _ in (await self.owners()).values()}
            return None not in owners and len(owners) == SHARDS

        await eventually(look)

    async def calls(self) -> dict[int, int]:
        """How often the simulated WhatsApp was called for each message."""
        rows = await self.pool.fetch(
            "SELECT message_id, count(*) AS calls FROM simulator_calls GROUP BY message_id"
        )
        return {row["message_id"]: row["calls"] for row in rows}

    async def called(self, count: int) -> None:
        """Return once there were so many calls."""

        async def look() -> bool:
            found = await self.pool.fetchval("SELECT count(*) FROM simulator_calls")
            return bool(found >= count)

        await eventually(look)

    async def with_status(self, *statuses: str) -> set[int]:
        """The messages that have one of these statuses."""
        rows = await self.pool.fetch(
            "SELECT id FROM messages WHERE status::text = ANY($1::text[])", statuses
        )
        return {row["id"] for row in rows}

    async def delivered(self, accepted: set[int], *, within_seconds: float) -> None:
        """Return once exactly these are delivered."""

        async def look() -> bool:
            return await self.with_status("delivered") == accepted

        await eventually(look, within_seconds=within_seconds)

    async def books_agree(self, *, spent: int) -> None:
        """The balance is what was granted less this, and the audit of every account is clean."""
        [balance, audit] = await asyncio.gather(
            self.processes.do("credits", "show", str(self.account), "--json"),
            self.processes.do("credits", "audit"),
        )
        assert balance.json["balance"] == CREDITS - spent
        assert audit.code == 0, audit


def held(dispatcher: Process) -> set[int]:
    """The shards a dispatcher holds, by its own log."""
    shards: set[int] = set()
    for entry in dispatcher.events("lease_taken", "lease_released", "lease_lost"):
        change = shards.add if entry["event"] == "lease_taken" else shards.discard
        change(entry["shard"])
    return shards


@pytest.fixture
async def installation(
    empty_dsn: str, vhost: str, processes: Processes
) -> AsyncIterator[Installation]:
    """Empty servers, prepared by the commands that an operator uses."""
    processes.environment |= SETTINGS | {
        "HANTAR_DATABASE_URL": empty_dsn,
        "HANTAR_AMQP_URL": vhost,
    }
    migrated = await processes.do("migrate")
    assert migrated.code == 0, migrated
    account = (
        await processes.do(
            "account", "create", "--email", "a@example.com", "--name", "A", "--verified", "--json"
        )
    ).json["id"]
    pool = await open_pool(empty_dsn, name="test", size=4)
    try:
        key, grant, devices = await asyncio.gather(
            processes.do("key", "create", "--account", str(account), "--name", "k", "--json"),
            processes.do("credits", "grant", str(account), str(CREDITS)),
            _devices(processes, pool, account),
        )
        assert grant.code == 0, grant
        yield Installation(processes, pool, account, key.json["key"], devices)
    finally:
        await pool.close()


async def _devices(processes: Processes, pool: Pool, account: int) -> dict[int, int]:
    """A device on every shard: as their ids decide, devices are added until there is."""
    command = f"device add --account {account} --name d --driver simulator --json"
    devices: dict[int, int] = {}
    while len(devices) < SHARDS:
        done = await processes.do(*command.split(), "--per-second", str(PER_SECOND))
        shard = await pool.fetchval("SELECT shard FROM devices WHERE id = $1", done.json["id"])
        devices.setdefault(shard, done.json["id"])
    return devices
