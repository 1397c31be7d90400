"""The statements of contacts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("contacts")


@dataclass(frozen=True, slots=True)
class ContactFields:
    """The fields of a contact; `attributes` is JSON, `opted_out` None leaves that as it is."""

    phone: str | None = None
    name: str | None = None
    external_id: str | None = None
    attributes: str | None = None
    opted_out: bool | None = None


@dataclass(frozen=True, slots=True)
class ContactFilter:
    """Which contacts of a list: those that contain a text, those with an external id."""

    search: str | None = None
    external_id: str | None = None


async def upsert(connection: Connection, account_id: int, fields: ContactFields) -> asyncpg.Record:
    """Create or update by phone; the row says `created`."""
    row = await connection.fetchrow(
        _SQL["upsert"],
        account_id,
        fields.phone,
        fields.name,
        fields.external_id,
        fields.attributes,
        fields.opted_out,
    )
    assert row is not None, "an upsert makes or finds a row"
    return row


async def one(connection: Connection, account_id: int, contact_id: int) -> asyncpg.Record | None:
    """A contact of this account."""
    return await connection.fetchrow(_SQL["one"], account_id, contact_id)


async def update(
    connection: Connection,
    account_id: int,
    contact_id: int,
    names: Collection[str],
    fields: ContactFields,
) -> asyncpg.Record | None:
    """Change the fields named; raises UniqueViolationError when another has the phone."""
    return await connection.fetchrow(
        _SQL["update"],
        account_id,
        contact_id,
        list(names),
        fields.phone,
        fields.name,
        fields.external_id,
        fields.attributes,
        fields.opted_out,
    )


async def delete(connection: Connection, account_id: int, contact_id: int) -> bool:
    """Forget a contact; whether there was one."""
    return await connection.fetchval(_SQL["delete"], account_id, contact_id) is not None


async def page(
    connection: Connection,
    account_id: int,
    narrowed: ContactFilter,
    *,
    below_id: int | None,
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    """Contacts, newest first. A statement for each filter, so that each gets its own plan."""
    place = (account_id, below_id, limit, offset)
    if narrowed.external_id is not None:
        pattern = _pattern(narrowed.search)
        return await connection.fetch(_SQL["page_external"], *place, narrowed.external_id, pattern)
    if narrowed.search:
        return await connection.fetch(_SQL["page_search"], *place, _pattern(narrowed.search))
    return await connection.fetch(_SQL["page"], *place)


async def count(
    connection: Connection, account_id: int, narrowed: ContactFilter, *, limit: int
) -> int:
    """How many there are, counted up to `limit`."""
    found: int
    if narrowed.external_id is not None:
        found = await connection.fetchval(
            _SQL["count_external"],
            account_id,
            limit,
            narrowed.external_id,
            _pattern(narrowed.search),
        )
    elif narrowed.search:
        pattern = _pattern(narrowed.search)
        found = await connection.fetchval(_SQL["count_search"], account_id, limit, pattern)
    else:
        found = await connection.fetchval(_SQL["count"], account_id, limit)
    return found


def _pattern(search: str | None) -> str | None:
    """The text as a LIKE pattern that finds it literally; None finds everything."""
    if not search:
        return None
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
