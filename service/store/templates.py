"""The statements of templates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("templates")


@dataclass(frozen=True, slots=True)
class TemplateFields:
    """The fields of a template; `media` and `meta` are JSON."""

    name: str | None = None
    slug: str | None = None
    body: str | None = None
    is_active: bool | None = None
    media: str | None = None
    meta: str | None = None


async def create(
    connection: Connection, account_id: int, fields: TemplateFields
) -> asyncpg.Record | None:
    """A new template; None when the account has one with this slug."""
    return await connection.fetchrow(
        _SQL["create"],
        account_id,
        fields.name,
        fields.slug,
        fields.body,
        fields.is_active,
        fields.media,
        fields.meta,
    )


async def slugs(connection: Connection, account_id: int, beginning: str) -> set[str]:
    """The slugs of an account that begin so."""
    rows = await connection.fetch(_SQL["slugs"], account_id, beginning)
    return {row["slug"] for row in rows}


async def one(connection: Connection, account_id: int, template_id: int) -> asyncpg.Record | None:
    """A template of this account."""
    return await connection.fetchrow(_SQL["one"], account_id, template_id)


async def page(
    connection: Connection,
    account_id: int,
    *,
    active_only: bool,
    below_id: int | None,
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    """The templates of an account, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset, active_only)


async def count(connection: Connection, account_id: int, *, active_only: bool, limit: int) -> int:
    """How many templates there are, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["count"], account_id, limit, active_only)
    return found


async def update(
    connection: Connection,
    account_id: int,
    template_id: int,
    names: Collection[str],
    fields: TemplateFields,
) -> asyncpg.Record | None:
    """Change the fields named; raises UniqueViolationError when another has the slug."""
    return await connection.fetchrow(
        _SQL["update"],
        account_id,
        template_id,
        list(names),
        fields.name,
        fields.slug,
        fields.body,
        fields.is_active,
        fields.media,
        fields.meta,
    )


async def delete(connection: Connection, account_id: int, template_id: int) -> bool:
    """Forget a template; whether there was one."""
    return await connection.fetchval(_SQL["delete"], account_id, template_id) is not None
