"""Credits and the ledger."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from schemas import credits as schema
from schemas.credits import Credits as CreditsResource
from schemas.credits import LedgerEntry
from schemas.shapes import Many, One
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation
from service.ingress.pages import COUNT_LIMIT
from service.ingress.replies import found, one
from service.store import accounts as store
from service.store.pool import Connection, Pool


class Credits:
    """Handlers of /credits."""

    def __init__(self, pool: Pool, lists: Lists) -> None:
        self._pool = pool
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/credits",
                handler=self.credits,
                summary="What can still be reserved, and what is reserved.",
                answers={200: One[CreditsResource]},
            ),
            Operation(
                method="GET",
                path="/credits/ledger",
                handler=self.ledger,
                summary="Every movement of credits, newest first.",
                query=PAGING,
                answers={200: Many[LedgerEntry]},
            ),
        ]

    async def credits(self, request: web.Request) -> web.Response:
        """Balance and reserved."""
        async with self._pool.acquire() as connection:
            row = await store.credit(connection, request[CALLER].account_id)
        row = found(row, "account")
        return one(CreditsResource(row["balance"], row["reserved"]))

    async def ledger(self, request: web.Request) -> web.Response:
        """The ledger, newest first."""
        self._lists.refuse_unknown(request)
        account_id = request[CALLER].account_id

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.ledger(
                connection,
                account_id,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count_ledger(connection, account_id, limit=COUNT_LIMIT + 1)

        return await self._lists.answer(request, rows, count, schema.ledger_entry)
