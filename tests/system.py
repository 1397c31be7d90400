"""Hantar running inside the test: real Postgres, real HTTP sockets, the in-process bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest

from service.app import App
from service.core.keys import key_hash, new_key
from service.core.sealing import Seal, read_keys
from service.core.sealing import new_key as new_sealing_key
from service.settings import load
from service.store import accounts, devices, sweeps
from service.store.pool import Pool
from tests.database import SHARDS
from tests.tap import tapped_database

SOON_SECONDS = 20.0
SEAL = Seal(read_keys(new_sealing_key()))


@dataclass(frozen=True, slots=True)
class Account:
    """An account with a key and a simulated device."""

    id: int
    key: str
    device_id: int

    @property
    def auth(self) -> dict[str, str]:
        """The headers that say who asks."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, its body read as JSON."""

    status: int
    headers: dict[str, str]
    json: Any


class Hantar:
    """A running installation and the hands to use it."""

    def __init__(self, app: App, pool: Pool, api: str, ops: str, http: aiohttp.ClientSession):
        self.app = app
        self.pool = pool
        self.api = api
        self.ops = ops
        self.http = http

    async def account(
        self,
        *,
        credits: int = 1000,
        verified: bool = True,
        per_second: float | None = None,
        device: bool = True,
    ) -> Account:
        """A new account, by the same statements as the operators' commands."""
        return await make_account(
            self.pool, credits=credits, verified=verified, per_second=per_second, device=device
        )

    async def call(
        self, method: str, path: str, account: Account | None = None, **request: Any
    ) -> Answer:
        """One request to the API, by an account or by nobody."""
        headers = dict(account.auth if account else {}) | request.pop("headers", {})
        async with self.http.request(
            method, self.api + path, headers=headers, timeout=_LIMIT, **request
        ) as response:
            is_json = "json" in response.headers.get("Content-Type", "")
            body = await response.json(content_type=None) if is_json else await response.text()
            return Answer(response.status, dict(response.headers), body)

    async def post(self, path: str, account: Account, body: Any, **request: Any) -> Answer:
        """A JSON body to /api/v1…"""
        return await self.call("POST", f"/api/v1{path}", account, json=body, **request)

    async def get(self, path: str, account: Account, **request: Any) -> Answer:
        """A resource of /api/v1…"""
        return await self.call("GET", f"/api/v1{path}", account, **request)

    async def message(self, account: Account, message_id: int) -> Any:
        """The message resource."""
        answer = await self.get(f"/messages/{message_id}", account)
        assert answer.status == 200
        return answer.json["data"]

    async def until(self, account: Account, message_id: int, *statuses: str) -> Any:
        """The message once it has reached one of these statuses."""

        async def look() -> Any:
            message = await self.message(account, message_id)
            return message if message["status"] in statuses else None

        return await eventually(look)

    async def balance(self, account: Account) -> int:
        """What the account can still reserve."""
        found: int = await self.pool.fetchval(
            "SELECT balance FROM accounts WHERE id = $1", account.id
        )
        return found

    async def drifting(self) -> list[asyncpg.Record]:
        """The accounts whose books do not agree; empty is what every test wants."""
        async with self.pool.acquire() as connection, connection.transaction():
            return await sweeps.audit(connection)


_LIMIT = aiohttp.ClientTimeout(total=30)


async def make_account(
    pool: Pool,
    *,
    credits: int = 1000,
    verified: bool = True,
    per_second: float | None = None,
    device: bool = True,
) -> Account:
    """A new account, by the same statements as the operators' commands."""
    key = new_key()
    async with pool.acquire() as connection, connection.transaction():
        count = await connection.fetchval("SELECT count(*) FROM accounts")
        made = await accounts.create_account(
            connection,
            name=f"Account {count}",
            email=f"owner{count}-{key[-8:]}@example.com",
            verified=verified,
        )
        assert made is not None
        await accounts.create_key(
            connection, made["id"], name="test", key_hash=key_hash(key), expires_at=None
        )
        if credits:
            await accounts.grant(connection, made["id"], credits, "test")
        device_id = 0
        if device:
            row = await devices.create(
                connection,
                made["id"],
                devices.Device(name="Simulated", limits={"per_second": per_second}),
                driver="simulator",
                state="ready",
                shards=SHARDS,
            )
            device_id = row["id"]
    return Account(made["id"], key, device_id)


async def eventually(
    look: Callable[[], Awaitable[Any]], *, within_seconds: float = SOON_SECONDS
) -> Any:
    """The first true thing that `look` answers; AssertionError with the last one after the time."""
    deadline = time.monotonic() + within_seconds
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_seconds} s, last: {found!r}"
        await asyncio.sleep(0.05)


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar in one process: every role, the in-process bus, the simulator."""
    async for running in run_app(dsn, pool):
        yield running


async def run_app(dsn: str, pool: Pool, **settings: object) -> AsyncGenerator[Hantar, None]:
    """The same with other settings."""
    chosen = load(
        **{"shards": SHARDS, "listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0", **settings}
    )
    app = App(chosen, dsn, SEAL)
    # What goes over a real broker is seen there.
    async with nullcontext() if "amqp_url" in settings else tapped_database(pool):
        addresses = await app.start()
        try:
            async with aiohttp.ClientSession() as http:
                yield Hantar(app, pool, addresses.api or "", addresses.ops, http)
        finally:
            await app.stop()
