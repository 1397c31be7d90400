"""The statements of devices: what they are and may do, and in what state they are."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time

import asyncpg
import orjson

from service.core.sealing import Seal
from service.core.shards import shard_of
from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("devices")

#: What their secrets are sealed for.
PURPOSE = "device"
#: Devices of one account; each accept reads all of them.
DEVICES_LIMIT = 200
#: The columns of a device's limits.
LIMITS = (
    "per_second",
    "per_minute",
    "per_hour",
    "per_day",
    "pair_seconds",
    "new_recipients_per_day",
    "jitter_seconds",
    "warm_up_days",
)


@dataclass(frozen=True, slots=True)
class Quiet:
    """The hours of a day in which nothing is sent, in a time zone."""

    start: time
    end: time
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What can be set of a device."""

    name: str
    is_default: bool = False
    portfolio: str | None = None
    #: by the names of LIMITS; what is missing is not limited
    limits: Mapping[str, float | None] = field(default_factory=dict)
    quiet: Quiet | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    #: sealed, in base64
    secrets: Mapping[str, str] = field(default_factory=dict)
    #: a mark that devices share which speak under one credential
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A device's state as callers saw it, and as they see it now."""

    account_id: int
    before: str
    state: str
    at: datetime


async def one(
    connection: Connection | Pool, account_id: int | None, device_id: int
) -> asyncpg.Record | None:
    """A device, of this account or, with None, of any."""
    return await connection.fetchrow(_SQL["one"], device_id, account_id)


async def page(
    connection: Connection,
    account_id: int | None,
    *,
    below_id: int | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[asyncpg.Record]:
    """The devices of an account, or of all, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset)


async def count(connection: Connection, account_id: int) -> int:
    """How many devices an account has."""
    found: int = await connection.fetchval(_SQL["count"], account_id)
    return found


async def lock(connection: Connection, account_id: int) -> bool:
    """Keep other changes of this account's devices waiting; whether there is such an account."""
    return await connection.fetchval(_SQL["lock_account"], account_id) is not None


async def create(
    connection: Connection,
    account_id: int,
    device: Device,
    *,
    driver: str,
    state: str,
    shards: int,
) -> asyncpg.Record:
    """A new device on its shard, in a transaction that has locked the account."""
    device_id: int = await connection.fetchval(_SQL["new_id"])
    if device.is_default:
        await connection.execute(_SQL["clear_default"], account_id)
    await connection.execute(
        _SQL["create"], device_id, account_id, driver, state, *_values(device_id, device, shards)
    )
    return await _read(connection, device_id)


async def update(
    connection: Connection, row: asyncpg.Record, device: Device, *, shards: int
) -> asyncpg.Record:
    """Make a device so, in a transaction that has locked the account and then read the row."""
    if device.is_default and not row["is_default"]:
        await connection.execute(_SQL["clear_default"], row["account_id"])
    await connection.execute(_SQL["update"], row["id"], *_values(row["id"], device, shards))
    return await _read(connection, row["id"])


async def delete(connection: Connection, account_id: int, device_id: int) -> bool:
    """Forget a device; whether there was one."""
    return await connection.fetchval(_SQL["delete"], device_id, account_id) is not None


async def change_state(
    connection: Connection,
    account_id: int | None,
    device_id: int,
    *,
    paused: bool | None = None,
    state: str | None = None,
    phone: str | None = None,
    reason: str | None = None,
) -> StateChange | None:
    """Change what is given; None when there is no such device."""
    row = await connection.fetchrow(
        _SQL["change_state"], device_id, account_id, paused, state, phone, reason
    )
    return StateChange(*row) if row is not None else None


async def is_timezone(connection: Connection, name: str) -> bool:
    """Whether the database, which is to reckon with it, knows this time zone."""
    found: bool = await connection.fetchval(_SQL["is_timezone"], name)
    return found


def sealed(seal: Seal, secret: str) -> str:
    """A secret as it is kept; raises NoKey."""
    return base64.b64encode(seal.seal(secret, PURPOSE)).decode()


def unsealed(seal: Seal, kept: str) -> dict[str, str]:
    """The secrets in the column of a device, by name; raises CannotUnseal."""
    return {
        name: seal.unseal(base64.b64decode(secret), PURPOSE)
        for name, secret in orjson.loads(kept).items()
    }


async def _read(connection: Connection, device_id: int) -> asyncpg.Record:
    row = await one(connection, None, device_id)
    assert row is not None, "a device was written here in this transaction"
    return row


def _values(device_id: int, device: Device, shards: int) -> tuple[object, ...]:
    quiet = device.quiet
    return (
        device.name,
        device.is_default,
        device.portfolio,
        shard_of(device_id, device.portfolio, shards),
        *(device.limits.get(name) for name in LIMITS),
        quiet and quiet.start,
        quiet and quiet.end,
        quiet and quiet.timezone,
        orjson.dumps(device.settings).decode(),
        orjson.dumps(device.secrets).decode(),
        device.credential,
    )


async def said_of_link(connection: Connection, device_id: int, at: datetime) -> bool:
    """Note when a driver spoke of a device's link; False when it is an older word."""
    return await connection.fetchval(_SQL["said_of_link"], device_id, at) is not None
