"""Messages as they are read."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("messages")
#: The rare ones, to which a table of their own leads; no index of messages holds the status.
_EXCEPTIONS = frozenset({"unconfirmed", "failed", "cancelled", "expired", "skipped"})
#: Messages that are counted before one that waits; beyond them the time it is told is too early.
_COUNTED_OF_ONE = 100_000
_COUNTED_IN_LIST = 1000


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What a list of messages is narrowed to; None is no narrowing."""

    status: str | None = None
    campaign_id: int | None = None
    contact_id: int | None = None
    phone: str | None = None

    @property
    def exceptions(self) -> bool:
        """Whether nothing is asked but a rare status."""
        other = (self.campaign_id, self.contact_id, self.phone)
        return self.status in _EXCEPTIONS and other == (None, None, None)


async def one(connection: Connection, account_id: int, message_id: int) -> asyncpg.Record | None:
    """One message of the account, or None."""
    return await connection.fetchrow(_SQL["one"], account_id, message_id, _COUNTED_OF_ONE)


async def story(connection: Connection, message_id: int) -> asyncpg.Record | None:
    """What an operator may see of a message, or None."""
    return await connection.fetchrow(_SQL["story"], message_id, _COUNTED_OF_ONE)


async def history(connection: Connection, message_id: int) -> list[asyncpg.Record]:
    """What went otherwise than planned with a message, oldest first."""
    return await connection.fetch(_SQL["history"], message_id)


async def page(
    connection: Connection,
    account_id: int,
    narrowed: MessageFilter,
    *,
    below_id: int | None,
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    """A page, newest first."""
    if narrowed.exceptions:
        return await connection.fetch(
            _SQL["page_exceptions"], account_id, narrowed.status, below_id, limit, offset
        )
    return await connection.fetch(
        _SQL["page"],
        account_id,
        narrowed.status,
        narrowed.campaign_id,
        narrowed.contact_id,
        narrowed.phone,
        below_id,
        limit,
        offset,
        _COUNTED_IN_LIST,
    )


async def knows(connection: Connection, account_id: int, narrowed: MessageFilter) -> asyncpg.Record:
    """Whether the account has the `campaign` and the `contact` that a list is narrowed to."""
    row = await connection.fetchrow(
        _SQL["knows"], account_id, narrowed.campaign_id, narrowed.contact_id
    )
    assert row is not None, "a select without a source has one row"
    return row


async def count(
    connection: Connection, account_id: int, narrowed: MessageFilter, *, limit: int
) -> int:
    """How many there are, counted no further than `limit`."""
    found: int
    if narrowed.exceptions:
        found = await connection.fetchval(
            _SQL["count_exceptions"], account_id, narrowed.status, limit
        )
        return found
    found = await connection.fetchval(
        _SQL["count"],
        account_id,
        narrowed.status,
        narrowed.campaign_id,
        narrowed.contact_id,
        narrowed.phone,
        limit,
    )
    return found
