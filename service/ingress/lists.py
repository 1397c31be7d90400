"""Lists: newest first, by page or by cursor, the same for every resource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from schemas.shapes import Row
from service.ingress.auth import CALLER
from service.ingress.operations import Parameter
from service.ingress.pages import (
    COUNT_LIMIT,
    LARGEST_PER_PAGE,
    PAGING_NAMES,
    Cursors,
    Listed,
    own_url,
    page_document,
    read_page,
    refuse_unknown,
)
from service.store.pool import Connection, Pool

#: What every list takes.
PAGING = (
    Parameter("page", "Which page, from 1.", {"type": "integer", "minimum": 1}),
    Parameter(
        "per_page",
        "Items on a page.",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PER_PAGE, "default": 25},
    ),
    Parameter("cursor", "`meta.next_cursor` of the page before; empty for the first."),
)
#: Which index is best depends on what is asked for: a plan for any values, which the database makes
#: of a statement that comes often, looks for a phone among all messages of the account.
PLAN_FOR_THE_VALUES = "SET LOCAL plan_cache_mode = force_custom_plan"


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of a list to read: `limit` of them, from below an id or after an offset."""

    below_id: int | None
    limit: int
    offset: int


class Lists:
    """Answers the lists of all resources."""

    def __init__(self, pool: Pool, cursors: Cursors, public_url: str | None) -> None:
        self._pool = pool
        self._cursors = cursors
        self._public_url = public_url

    def refuse_unknown(self, request: web.Request, filters: Iterable[str] = ()) -> None:
        """422 for a parameter that this list does not take."""
        refuse_unknown(request.query, PAGING_NAMES.union(filters))

    async def answer(
        self,
        request: web.Request,
        rows: Callable[[Connection, Slice], Awaitable[list[Any]]],
        count: Callable[[Connection], Awaitable[int]],
        resource: Callable[[Row], Any],
    ) -> web.Response:
        """The page asked for; `count` may stop at COUNT_LIMIT + 1 and is not asked by cursor."""
        listed = Listed.asked(request[CALLER].account_id, request.path, request.query)
        page = read_page(request.query, self._cursors, listed)
        url = own_url(request, self._public_url)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(PLAN_FOR_THE_VALUES)
            found = await rows(connection, Slice(page.below_id, page.per_page + 1, page.offset))
            more = len(found) > page.per_page
            found = found[: page.per_page]
            total = None
            if not page.by_cursor:
                at_end = not more and (found or not page.offset)
                total = page.offset + len(found) if at_end else await count(connection)
        next_cursor = self._cursors.make(listed, found[-1]["id"]) if more else None
        items = [resource(row) for row in found]
        document = page_document(items, page, url, total=_capped(total), next_cursor=next_cursor)
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _capped(total: int | None) -> int | None:
    return None if total is None else min(total, COUNT_LIMIT + 1)
