"""The statements of accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.outbox import Entry
from service.store.pool import Connection
from service.store.queries import load

_SQL = load("accept")


@dataclass(frozen=True, slots=True)
class Device:
    """A device an account can send through."""

    id: int
    driver: str
    shard: int
    is_default: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class Contact:
    """What is known about a phone."""

    id: int
    phone: str
    name: str | None
    external_id: str | None
    attributes: str
    opted_out: bool


@dataclass(frozen=True, slots=True)
class ContactFields:
    """What a send says about its recipient; None leaves a field as it is."""

    phone: str
    name: str | None
    external_id: str | None
    attributes: str | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What the messages of one insert have in common."""

    device_id: int
    template_id: int | None
    status: str
    priority: int
    delivery: str
    send_at: datetime | None
    expires_at: datetime | None
    campaign_id: int | None = None
    #: None for a recipient that was never paid for
    credit: str | None = "reserved"
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What a message has of its own."""

    phone: str
    body: str
    reference: str | None
    contact_id: int | None
    #: what goes with the body, as JSON
    options: str | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer kept under an idempotency key."""

    fingerprint: bytes
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reserved:
    """The balance after a reservation, and the dispatch commands in the outbox."""

    balance: int
    entries: list[Entry]


async def lock_key(connection: Connection, account_id: int, key: str) -> bool:
    """Be the only one to work on this key until the transaction ends; False: somebody else is."""
    locked: bool = await connection.fetchval(_SQL["lock_key"], account_id, key)
    return locked


async def find_answer(connection: Connection, account_id: int, key: str) -> StoredAnswer | None:
    """The answer kept under a key, if any."""
    row = await connection.fetchrow(_SQL["find_answer"], account_id, key)
    return StoredAnswer(*row) if row is not None else None


async def store_answer(
    connection: Connection, account_id: int, key: str, answer: StoredAnswer, *, keep_seconds: float
) -> None:
    """Keep an answer under its key."""
    await connection.execute(
        _SQL["store_answer"],
        account_id,
        key,
        answer.fingerprint,
        answer.status,
        answer.body,
        keep_seconds,
    )


async def devices(connection: Connection, account_id: int) -> list[Device]:
    """The devices an account can send through."""
    return [Device(*row) for row in await connection.fetch(_SQL["devices"], account_id)]


async def contacts(
    connection: Connection, account_id: int, phones: Sequence[str]
) -> dict[str, Contact]:
    """What is known about these phones."""
    rows = await connection.fetch(_SQL["contacts"], account_id, phones)
    return {row["phone"]: Contact(*row) for row in rows}


async def templates(
    connection: Connection, account_id: int, ids: Sequence[int]
) -> dict[int, asyncpg.Record]:
    """What those templates say that are the account's own and active."""
    rows = await connection.fetch(_SQL["templates"], account_id, ids)
    return {row["id"]: row for row in rows}


async def upsert_contacts(
    connection: Connection, account_id: int, fields: Sequence[ContactFields]
) -> dict[str, int]:
    """Create or update contacts, one for each phone; their ids by phone."""
    rows = await connection.fetch(
        _SQL["upsert_contacts"],
        account_id,
        [each.phone for each in fields],
        [each.name for each in fields],
        [each.external_id for each in fields],
        [each.attributes for each in fields],
        [each.phone for each in fields if each.attributes is not None],
    )
    return {row["phone"]: row["id"] for row in rows}


async def insert_messages(
    connection: Connection, account_id: int, shared: Shared, messages: Sequence[NewMessage]
) -> list[int]:
    """Write the messages; their ids, in the same order."""
    rows: list[asyncpg.Record] = await connection.fetch(
        _SQL["insert_messages"],
        [message.phone for message in messages],
        [message.body for message in messages],
        [message.reference for message in messages],
        [message.contact_id for message in messages],
        [message.options for message in messages],
        account_id,
        shared.device_id,
        shared.template_id,
        shared.status,
        shared.priority,
        shared.delivery,
        shared.send_at,
        shared.expires_at,
        shared.campaign_id,
        shared.credit,
        shared.traceparent,
    )
    return [row["id"] for row in rows]


async def park_scheduled(connection: Connection, ids: Sequence[int], shared: Shared) -> None:
    """Let these wait for their time."""
    await connection.execute(
        _SQL["park_scheduled"], ids, shared.device_id, shared.priority, shared.send_at
    )


async def balance(connection: Connection, account_id: int) -> int:
    """What the account can still reserve, without a lock: a quick refusal, never a promise."""
    found: int = await connection.fetchval(_SQL["balance"], account_id)
    return found


async def reserve(
    connection: Connection,
    account_id: int,
    count: int,
    *,
    message_id: int | None = None,
    campaign_id: int | None = None,
    exchange: str = "",
    command_type: str = "",
    commands: Sequence[tuple[str, bytes]] = (),
    traceparent: str | None = None,
) -> Reserved | None:
    """Reserve `count` credits and write the commands, as the last act; None: too few credits."""
    row = await connection.fetchrow(
        _SQL["reserve"],
        account_id,
        count,
        message_id,
        exchange,
        command_type,
        [routing_key for routing_key, _ in commands],
        [body for _, body in commands],
        campaign_id,
        traceparent,
    )
    if row is None:
        return None
    entries = [
        Entry(entry_id, exchange, routing_key, command_type, body, traceparent=traceparent)
        for entry_id, (routing_key, body) in zip(row["outbox_ids"], commands, strict=True)
    ]
    return Reserved(row["balance"], entries)
