"""The statements of upstream services: whom they may speak for, and the answers to them."""

from __future__ import annotations

from enum import Enum, auto

import asyncpg

from service.store.outbox import Entry
from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("upstreams")


class Standing(Enum):
    """What a broker's user is to an account."""

    STRANGER = auto()
    UNVERIFIED = auto()
    VERIFIED = auto()


async def standing(pool: Pool, user: str, account_id: int) -> Standing:
    """Whether commands of this user may name the account, and whether its e-mail is verified."""
    row = await pool.fetchrow(_SQL["may"], user, account_id)
    if row is None:
        return Standing.STRANGER
    return Standing.VERIFIED if row["verified"] else Standing.UNVERIFIED


async def add(connection: Connection, user: str, account_id: int) -> asyncpg.Record | None:
    """Let commands of this user name the account; None when there is no such account."""
    return await connection.fetchrow(_SQL["add"], user, account_id)


async def remove(connection: Connection, user: str, account_id: int) -> asyncpg.Record | None:
    """Take that back; None when it was not so."""
    return await connection.fetchrow(_SQL["remove"], user, account_id)


async def every(connection: Connection) -> list[asyncpg.Record]:
    """Every user, with the accounts that its commands may name."""
    return await connection.fetch(_SQL["all"])


async def users(pool: Pool) -> set[str]:
    """Every user whose commands may name an account."""
    return {row["user_name"] for row in await pool.fetch(_SQL["users"])}


async def put_answer(
    connection: Connection,
    *,
    exchange: str,
    kind: str,
    event_type: str,
    body: bytes,
    command_id: str,
    traceparent: str | None,
) -> Entry:
    """Write the answer to a command into the outbox."""
    entry_id: int = await connection.fetchval(
        _SQL["put_answer"], exchange, kind, event_type, body, command_id, traceparent
    )
    return Entry(entry_id, exchange, kind, event_type, body, command_id, traceparent)
