"""Private servers, an account with a device of each driver, and a process for each role."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson

from service.core.sealing import new_key as new_sealing_key
from service.embedded import EmbeddedPostgres
from tests.acceptance.processes import Process, Processes
from tests.servers.nginx import Nginx
from tests.servers.rabbitmq import RabbitNode

SHARDS = 4
CREDITS = 100_000_000
BULK = 1000
#: Those that take turns, and one more of which devices are made.
DRIVERS = ("simulator", "meta", "instant")
BUSY = "busy"
ROLES = ("ingress", "dispatcher", "recorder", "intake")
READY_SECONDS = 60.0
LOOK_SECONDS = 0.05
#: The statistics of PostgreSQL, and nothing else that its default has not.
POSTGRES = {"shared_preload_libraries": "pg_stat_statements", "log_error_verbosity": "default"}
SETTINGS = {
    "HANTAR_SHARDS": str(SHARDS),
    "HANTAR_RATE_PER_SECOND": "10000",
    "HANTAR_RATE_BURST": "10000",
}
_DEVICE = """
INSERT INTO devices (account_id, name, driver, state, shard) VALUES ($1, 'd', $2, 'ready', $3)
RETURNING id
"""
_OWNERS = """
SELECT count(*) = count(owner) AND count(DISTINCT owner) = $1 FROM shard_leases
"""
#: What a device of Meta's has by default, but for the 80 a second, which would be measured.
META_LIMITS = {"per_second": None, "pair_seconds": 6}


@dataclass
class Installation:
    """Everything that runs, and the hands to use it."""

    pool: asyncpg.Pool[asyncpg.Record]
    rabbit: RabbitNode
    postgres: EmbeddedPostgres
    nginx: Nginx
    processes: Processes
    vhost: str
    account: int
    http: aiohttp.ClientSession
    api: str = ""
    roles: dict[str, list[Process]] = field(default_factory=dict)
    #: by driver, one on each shard
    devices: dict[str, list[int]] = field(default_factory=dict)
    phones: count[int] = field(default_factory=count)

    def pids(self) -> dict[str, list[int]]:
        """Every process that is counted, by what it is."""
        ours = {role: [each.pid for each in running] for role, running in self.roles.items()}
        return ours | {
            "rabbitmq": self.rabbit.pids,
            "postgres": [self.postgres.pid],
            "nginx": [self.nginx.pid],
        }

    async def start(self, role: str) -> Process:
        """One process more of this role, ready."""
        process = self.processes.start("run", "--roles", role)
        await process.ready()
        self.roles.setdefault(role, []).append(process)
        return process

    async def stop(self, role: str) -> None:
        """The last of this role ends in order."""
        await self.roles[role].pop().terminate()

    async def shared_out(self, owners: int) -> None:
        """Wait until the shards are in the hands of so many dispatchers."""
        async with asyncio.timeout(READY_SECONDS):
            await self.until(_OWNERS, owners)

    async def until(self, statement: str, *arguments: object) -> Any:
        """What the database answers, once that is true."""
        while True:
            if answer := await self.pool.fetchval(statement, *arguments):
                return answer
            await asyncio.sleep(LOOK_SECONDS)

    def bulk(self, device: int, size: int = BULK) -> bytes:
        """A bulk to people who never got anything."""
        return orjson.dumps(
            {
                "device": device,
                "messages": [
                    {
                        "phone": f"+60123{next(self.phones):06}",
                        "body": "Your order has been shipped and should reach you by Thursday.",
                        "reference": f"order-{n}",
                    }
                    for n in range(size)
                ],
            }
        )

    async def post(self, path: str, body: bytes) -> bytes:
        """What the API answers."""
        async with self.http.post(f"{self.api}/api/v1{path}", data=body) as answer:
            text = await answer.read()
            assert answer.status in (200, 201, 202), text[:500]
            return text

    async def broker(self) -> dict[str, Any]:
        """What RabbitMQ says of the vhost."""
        found: dict[str, Any] = await self.rabbit.manage("GET", f"/vhosts/{self.vhost}")
        return found


@contextlib.asynccontextmanager
async def installation(*, module: str = "tests.bench.job.instant") -> AsyncIterator[Installation]:
    """Everything, started, with this for `hantar`; at the end it is gone."""
    folder = Path(tempfile.mkdtemp(prefix="hantar bench "))
    folder.chmod(0o711)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        nginx, rabbit = Nginx(), RabbitNode()
        stack.callback(rabbit.close)
        stack.callback(nginx.close)
        rabbit.launch()
        nginx.start()
        postgres = EmbeddedPostgres(folder / "postgres", durable=True, settings=POSTGRES)
        stack.push_async_callback(postgres.stop)
        dsn = await postgres.start()
        stack.callback(shutil.rmtree, postgres.home, ignore_errors=True)
        rabbit.await_ready()
        processes = Processes(folder, folder, module=module)
        vhost = f"bench-{uuid.uuid4().hex}"
        key_file = folder / "key"
        key_file.write_text(new_sealing_key())
        processes.environment |= SETTINGS | {
            "HANTAR_DATABASE_URL": dsn,
            "HANTAR_AMQP_URL": await rabbit.create_vhost(vhost),
            "HANTAR_SECRET_KEY_FILE": str(key_file),
            "HANTAR_META_BASE_URL": nginx.url,
        }
        account, key = await _account(processes)
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4, command_timeout=600)
        stack.push_async_callback(pool.close)
        await pool.execute("CREATE EXTENSION pg_stat_statements")
        http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=60),
        )
        stack.push_async_callback(http.close)
        made = Installation(pool, rabbit, postgres, nginx, processes, vhost, account, http)
        stack.callback(_kill, made)
        await _open(made)
        yield made
        for role in ROLES[::-1]:
            while made.roles[role]:
                await made.stop(role)


async def _account(processes: Processes) -> tuple[int, str]:
    migrated = await processes.do("migrate")
    assert migrated.code == 0, migrated
    arguments = "account create --email a@example.com --name A --verified --json"
    account: int = (await processes.do(*arguments.split())).json["id"]
    key = await processes.do("key", "create", "--account", str(account), "--name", "k", "--json")
    granted = await processes.do("credits", "grant", str(account), str(CREDITS))
    assert granted.code == 0, granted
    return account, key.json["key"]


async def _open(made: Installation) -> None:
    """Roles and devices; those of Meta's by the API, as their secrets are sealed."""
    ingress, *_ = await asyncio.gather(*(made.start(role) for role in ROLES))
    made.api = (await ingress.ready())[0]
    for driver in (*DRIVERS, BUSY):
        made.devices[driver] = [await _device(made, driver, shard) for shard in range(SHARDS)]


async def _device(made: Installation, driver: str, shard: int) -> int:
    if driver != "meta":
        made_id: int = await made.pool.fetchval(_DEVICE, made.account, driver, shard)
        return made_id
    while True:
        # Each of an account of its own, as those that share a token share its connections.
        settings = {"phone_number_id": "106540352242922", "access_token": uuid.uuid4().hex}
        body = {"name": "m", "driver": driver, "limits": META_LIMITS, "settings": settings}
        id_: int = orjson.loads(await made.post("/devices", orjson.dumps(body)))["data"]["id"]
        if await made.pool.fetchval("SELECT shard FROM devices WHERE id = $1", id_) == shard:
            return id_


def _kill(made: Installation) -> None:
    """What a failure left running."""
    for running in made.roles.values():
        for process in running:
            if process.code is None:
                process.kill()
