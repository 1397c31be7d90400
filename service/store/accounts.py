"""Accounts, keys and credits, as operators handle them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("accounts")


class EmailTaken(Exception):
    """Another account has verified this e-mail."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the account behind a key."""

    key_id: int
    account_id: int
    email_verified: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """What every process of this installation agrees on."""

    shards: int
    secret: bytes


async def authenticate(connection: Connection | Pool, key_hash: bytes) -> Caller | None:
    """Whose key this is; None when it is unknown, revoked or over."""
    row = await connection.fetchrow(_SQL["authenticate"], key_hash)
    return Caller(**row) if row is not None else None


async def touch_keys(pool: Pool, key_ids: Sequence[int]) -> None:
    """Note that these keys were used just now."""
    await pool.execute(_SQL["touch_keys"], key_ids)


async def create_account(
    connection: Connection, *, name: str, email: str, verified: bool
) -> asyncpg.Record | None:
    """A new account; None when the e-mail has one."""
    try:
        return await connection.fetchrow(_SQL["create_account"], name, email, verified)
    except asyncpg.UniqueViolationError:
        # made at the same moment
        return None


async def sign_up(connection: Connection, *, name: str, email: str) -> asyncpg.Record:
    """A new account whose e-mail nobody has verified; others may have the same."""
    row = await connection.fetchrow(_SQL["sign_up"], name, email)
    assert row is not None, "an insert without a condition makes a row"
    return row


async def account(connection: Connection, account_id: int) -> asyncpg.Record | None:
    """An account."""
    return await connection.fetchrow(_SQL["account"], account_id)


async def accounts(connection: Connection) -> list[asyncpg.Record]:
    """Every account."""
    return await connection.fetch(_SQL["accounts"])


async def verify_account(connection: Connection, account_id: int) -> asyncpg.Record | None:
    """Take the e-mail as verified; None when there is no such account.

    Raises EmailTaken when another account has verified it.
    """
    try:
        return await connection.fetchrow(_SQL["verify_account"], account_id)
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None


async def create_key(
    connection: Connection,
    account_id: int,
    *,
    name: str,
    key_hash: bytes,
    expires_at: datetime | None,
) -> asyncpg.Record | None:
    """Keep a new key's hash; None when there is no such account."""
    return await connection.fetchrow(_SQL["create_key"], account_id, name, key_hash, expires_at)


async def keys(connection: Connection, account_id: int) -> list[asyncpg.Record]:
    """The keys of an account."""
    return await connection.fetch(_SQL["keys"], account_id)


async def revoke_key(connection: Connection, key_id: int) -> asyncpg.Record | None:
    """Revoke a key; None when there is no such key."""
    return await connection.fetchrow(_SQL["revoke_key"], key_id)


async def grant(
    connection: Connection, account_id: int, amount: int, note: str | None
) -> asyncpg.Record | None:
    """Give credits; the ledger entry, or None when there is no such account."""
    return await connection.fetchrow(_SQL["grant"], account_id, amount, note)


async def credit(connection: Connection, account_id: int) -> asyncpg.Record | None:
    """Balance and reserved credits; None when there is no such account."""
    return await connection.fetchrow(_SQL["credits"], account_id)


async def install(connection: Connection, shards: int) -> None:
    """Fix the number of shards of this installation, the first time."""
    await connection.execute(_SQL["install"], shards)


async def installation(connection: Connection | Pool) -> Installation | None:
    """What every process agrees on; None before the first `hantar migrate`."""
    row = await connection.fetchrow(_SQL["installation"])
    return Installation(row["shards"], row["secret"]) if row is not None else None


async def key(connection: Connection, key_id: int) -> asyncpg.Record | None:
    """A key."""
    return await connection.fetchrow(_SQL["key"], key_id)


async def ledger(
    connection: Connection, account_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The ledger of an account, newest first."""
    return await connection.fetch(_SQL["ledger"], account_id, below_id, limit, offset)


async def count_ledger(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many entries there are, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["count_ledger"], account_id, limit)
    return found
