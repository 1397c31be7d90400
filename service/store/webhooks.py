"""The statements of outgoing webhooks: endpoints, and what is delivered to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.core.webhooks import FAILURES_TO_CLOSE
from service.store.pool import Connection, Pool, delete_all
from service.store.queries import load

_SQL = load("webhooks")

#: What their secrets are sealed for.
PURPOSE = "webhook"
#: Endpoints of one account.
ENDPOINTS_LIMIT = 20
#: Deliveries are kept this long.
KEEP_DAYS = 30
#: Failed deliveries made due again at once.
REPLAY_LIMIT = 10_000
PRUNE_LIMIT = 5000


@dataclass(frozen=True, slots=True)
class Event:
    """A public event on its way to webhooks."""

    account_id: int
    event_id: str
    type: str
    body: bytes
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery to make now, and how its endpoint has done so far; secrets are sealed."""

    id: int
    endpoint_id: int
    event_id: str
    type: str
    body: bytes
    traceparent: str | None
    attempts: int
    created_at: datetime
    url: str
    secret: bytes
    failures: int
    failing_since: datetime | None
    old_secret: bytes | None


@dataclass(frozen=True, slots=True)
class Failure:
    """What came of a try that failed, and what follows from it."""

    status: int | None
    error: str
    #: None: that was the last try
    again_seconds: float | None
    closed_seconds: float
    disable_because: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an endpoint is to be; None leaves a field as it is, but see `set_description`."""

    url: str | None = None
    events: list[str] | None = None
    description: str | None = None
    set_description: bool = False
    is_active: bool | None = None


async def create(
    connection: Connection, account_id: int, wanted: Wanted, secret: bytes
) -> asyncpg.Record | None:
    """A new endpoint; None when the account has as many as it may."""
    active = wanted.is_active is not False
    return await connection.fetchrow(
        _SQL["create"],
        account_id,
        wanted.url,
        wanted.events,
        wanted.description,
        active,
        secret,
        ENDPOINTS_LIMIT,
    )


async def one(connection: Connection, account_id: int, endpoint_id: int) -> asyncpg.Record | None:
    """An endpoint of this account."""
    return await connection.fetchrow(_SQL["one"], account_id, endpoint_id)


async def page(
    connection: Connection, account_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The endpoints of an account, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset)


async def count(connection: Connection, account_id: int) -> int:
    """How many endpoints an account has."""
    found: int = await connection.fetchval(_SQL["count"], account_id)
    return found


async def update(
    connection: Connection, account_id: int, endpoint_id: int, wanted: Wanted
) -> asyncpg.Record | None:
    """Change what is given; None when there is no such endpoint."""
    return await connection.fetchrow(
        _SQL["update"],
        account_id,
        endpoint_id,
        wanted.url,
        wanted.events,
        wanted.set_description,
        wanted.description,
        wanted.is_active,
    )


async def rotate(
    connection: Connection, account_id: int, endpoint_id: int, secret: bytes, overlap_seconds: float
) -> asyncpg.Record | None:
    """A new secret; the one before signs beside it for that long."""
    return await connection.fetchrow(
        _SQL["rotate"], account_id, endpoint_id, secret, overlap_seconds
    )


async def delete(connection: Connection, account_id: int, endpoint_id: int) -> bool:
    """Remove an endpoint with its deliveries; whether there was one."""
    return await connection.fetchval(_SQL["delete"], account_id, endpoint_id) is not None


async def deliveries(
    connection: Connection,
    endpoint_id: int,
    state: str | None,
    *,
    below_id: int | None,
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    """What was or will be delivered, newest first."""
    return await connection.fetch(_SQL["deliveries"], endpoint_id, below_id, limit, offset, state)


async def count_deliveries(
    connection: Connection, endpoint_id: int, state: str | None, *, limit: int
) -> int:
    """How many deliveries there are, counted up to a limit."""
    found: int = await connection.fetchval(_SQL["count_deliveries"], endpoint_id, state, limit)
    return found


async def replay(
    connection: Connection, account_id: int, endpoint_id: int, delivery_id: int
) -> asyncpg.Record | None:
    """Deliver this once more; None when there is no such delivery."""
    return await connection.fetchrow(_SQL["replay"], account_id, endpoint_id, delivery_id)


async def replay_failed(
    connection: Connection, account_id: int, endpoint_id: int, since: datetime
) -> int:
    """Deliver once more what failed of the events since then, up to REPLAY_LIMIT; how many."""
    found: int = await connection.fetchval(
        _SQL["replay_failed"], account_id, endpoint_id, since, REPLAY_LIMIT
    )
    return found


async def feed(connection: Connection, events: Sequence[Event]) -> bool:
    """Note events for the endpoints that want them; whether anybody may."""
    accounts = {event.account_id for event in events}
    rows = await connection.fetch(_SQL["listening"], list(accounts))
    listening = {row["account_id"] for row in rows}
    heard = [event for event in events if event.account_id in listening]
    if heard:
        await connection.execute(
            _SQL["feed"],
            [event.account_id for event in heard],
            [event.event_id for event in heard],
            [event.type for event in heard],
            [event.body for event in heard],
            [event.traceparent for event in heard],
        )
    return bool(heard)


async def take(
    pool: Pool, busy: Sequence[int], *, each: int, most: int, mine_seconds: float
) -> list[Delivery]:
    """The next deliveries to make; `busy` has the endpoint of each one in flight here."""
    rows = await pool.fetch(_SQL["take"], busy, each, FAILURES_TO_CLOSE, most, mine_seconds)
    return [Delivery(**dict(row)) for row in rows]


async def delivered(pool: Pool, delivery: Delivery, status: int) -> None:
    """The receiver took it."""
    await pool.execute(_SQL["delivered"], delivery.id, delivery.endpoint_id, status)


async def failed(pool: Pool, delivery: Delivery, failure: Failure) -> None:
    """The receiver did not take it."""
    await pool.execute(
        _SQL["failed"],
        delivery.id,
        delivery.endpoint_id,
        failure.status,
        failure.error,
        failure.again_seconds,
        failure.closed_seconds,
        failure.disable_because,
    )


async def prune(pool: Pool) -> None:
    """Forget deliveries older than KEEP_DAYS."""
    await delete_all(pool, _SQL["prune"], KEEP_DAYS, limit=PRUNE_LIMIT)
