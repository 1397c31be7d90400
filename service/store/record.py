"""The statements that turn status changes into truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from service.core.lifecycle import Change, Hold
from service.store.outbox import EVENTS_EXCHANGE, Entry
from service.store.pool import Connection
from service.store.queries import load
from service.telemetry import tracing

_SQL = load("record")
#: As many changes may be compared with each other's rows: to plan for more costs two statements.
FEW = 50
# Of another text, as a session keeps the plan of a statement however that came about.
_MERGE_MANY = _SQL["merge"] + "\n-- many"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Credits of one account that moved for the same reason in one transaction."""

    account_id: int
    campaign_id: int | None
    type: str
    count: int
    message_id: int | None


@dataclass(frozen=True, slots=True)
class PublicEvent:
    """The body of one message for `hantar.events`."""

    routing_key: str
    body: bytes
    #: of all that it tells, if that is one
    traceparent: str | None


async def merge(
    connection: Connection, changes: Sequence[Change], *, doubt_seconds: float
) -> list[asyncpg.Record]:
    """Apply one change per message, ascending by id, in a transaction; answers what moved."""
    if len(changes) <= FEW:
        return await _merge(connection, _SQL["merge"], changes, doubt_seconds)
    await connection.execute(_SQL["join_by_hash"])
    moved = await _merge(connection, _MERGE_MANY, changes, doubt_seconds)
    await connection.execute(_SQL["join_as_it_comes"])
    return moved


async def _merge(
    connection: Connection, statement: str, changes: Sequence[Change], doubt_seconds: float
) -> list[asyncpg.Record]:
    return await connection.fetch(
        statement,
        [change.message_id for change in changes],
        changes[0].message_id,
        changes[-1].message_id,
        [change.attempt for change in changes],
        [change.status for change in changes],
        [change.at for change in changes],
        [change.provider_id for change in changes],
        [change.error_code for change in changes],
        [change.error_detail for change in changes],
        [change.not_before for change in changes],
        [change.reason for change in changes],
        [change.counted for change in changes],
        [change.sent_at for change in changes],
        [change.delivered_at for change in changes],
        [change.read_at for change in changes],
        doubt_seconds,
    )


async def settle(
    connection: Connection,
    entries: Sequence[LedgerEntry],
    events: Sequence[PublicEvent],
    *,
    event_type: str,
    claims: Sequence[int],
    unwritten: Sequence[int] = (),
) -> list[int]:
    """Enter the ledger, hand over the events, drop the claims without a message that is unwritten.

    Answers the outbox ids of the events.
    """
    rows = await connection.fetch(
        _SQL["settle"],
        [entry.account_id for entry in entries],
        [entry.campaign_id for entry in entries],
        [entry.type for entry in entries],
        [entry.count for entry in entries],
        [entry.message_id for entry in entries],
        event_type,
        [event.routing_key for event in events],
        [event.body for event in events],
        claims,
        [event.traceparent for event in events],
        unwritten,
    )
    return [row["id"] for row in rows]


async def hold(connection: Connection, holds: Sequence[tuple[int, Hold]]) -> None:
    """Let what is in the scope of these messages' answers wait until then."""
    await connection.execute(
        _SQL["hold"],
        [message_id for message_id, _ in holds],
        [each.scope for _, each in holds],
        [each.until for _, each in holds],
        [each.code for _, each in holds],
    )


async def reached(connection: Connection, persons: Sequence[tuple[int, str]]) -> None:
    """These phones, each with its device, are refused no more."""
    await connection.execute(
        _SQL["reached"],
        [device_id for device_id, _ in persons],
        [phone for _, phone in persons],
    )


async def devices_in_scope(connection: Connection, device_id: int, scope: str) -> list[int]:
    """The device, with wider scopes those of its driver under the same credential or account."""
    rows = await connection.fetch(_SQL["devices_in_scope"], device_id, scope)
    return [row["id"] for row in rows]


async def put_event(
    connection: Connection,
    *,
    routing_key: str,
    event_type: str,
    body: bytes,
    traceparent: str | None = None,
) -> Entry:
    """Write one public event to the outbox, by default of the trace of the work in hand."""
    traceparent = traceparent or tracing.current()
    id_ = await connection.fetchval(_SQL["put_event"], routing_key, event_type, body, traceparent)
    return Entry(id_, EVENTS_EXCHANGE, routing_key, event_type, body, traceparent=traceparent)
