"""Imports of contacts from a CSV file."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from schemas import contacts as schema
from schemas.contacts import Import
from schemas.problems import Problem, invalid
from schemas.shapes import Many, One
from service.ingress.auth import CALLER
from service.ingress.csv_file import ROWS_LIMIT, CsvFile, receive
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, refuse_unknown, whole_number
from service.ingress.replies import encoded, found, one, path_id, reply
from service.ingress.requests import idempotency_key
from service.once import Answer, Idempotency, Once
from service.store import groups
from service.store import imports as store
from service.store.pool import Connection, Pool

_WHAT = "import"
_ERRORS_AT_ONCE = 1000
#: Files of one account on their way in at once: each takes room on the disk.
_UPLOADS_LIMIT = 4
#: Imports of one account that are not worked off: they wait for one another.
_OPEN_LIMIT = 20
#: What a spreadsheet would run as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GROUP = Parameter("group_id", "Put the contacts into this group.", {"type": "integer"})


class Imports:
    """Handlers of /contacts/import and /contacts/imports."""

    def __init__(self, pool: Pool, once: Once, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists
        self._uploads: Counter[int] = Counter()

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="POST",
                path="/contacts/import",
                handler=self.create,
                summary="Import up to 100,000 contacts from CSV: phone, name, external_id; other "
                "columns become attributes.",
                body=str,
                media_type="text/csv",
                query=(_GROUP,),
                answers={202: One[Import]},
                problems=("rate_limited",),
                example="phone,name,city\n019-888 7777,Wei,Klang\n011-1234 5678,Kavitha,Melaka\n",
            ),
            Operation(
                method="GET",
                path="/contacts/imports",
                handler=self.page,
                summary="Imports, newest first.",
                query=PAGING,
                answers={200: Many[Import]},
            ),
            Operation(
                method="GET",
                path="/contacts/imports/{id}",
                handler=self.one,
                summary="How far an import has come.",
                answers={200: One[Import]},
            ),
            Operation(
                method="GET",
                path="/contacts/imports/{id}/errors",
                handler=self.errors,
                summary="The rows that were refused, as CSV.",
                answers={200: str},
            ),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Keep the file; it is worked off afterwards."""
        refuse_unknown(request.query, frozenset({_GROUP.name}))
        group_id = whole_number(request.query, _GROUP.name)
        key = idempotency_key(request)
        account_id = request[CALLER].account_id
        if self._uploads[account_id] >= _UPLOADS_LIMIT:
            raise _too_many(f"{_UPLOADS_LIMIT} files are on their way in.", retry_seconds=5)
        self._uploads[account_id] += 1
        try:
            file = await receive(request)
            try:
                return await self._keep(account_id, group_id, file, key)
            finally:
                file.close()
        finally:
            self._uploads[account_id] -= 1
            if not self._uploads[account_id]:
                del self._uploads[account_id]

    async def _keep(
        self, account_id: int, group_id: int | None, file: CsvFile, key: str | None
    ) -> web.Response:
        await asyncio.to_thread(file.read_header)

        async def work(connection: Connection) -> Answer:
            if group_id is not None and not await groups.one(connection, account_id, group_id):
                raise invalid("group_id", f"There is no contact group {group_id}.")
            waiting = await store.count_open(connection, account_id, limit=_OPEN_LIMIT)
            if waiting >= _OPEN_LIMIT:
                detail = f"{_OPEN_LIMIT} imports wait to be worked off."
                raise _too_many(detail, retry_seconds=30)
            row = await _write(connection, account_id, group_id, file)
            return Answer(202, encoded(schema.contact_import(row)))

        once = Idempotency(key, _fingerprint(group_id, file)) if key is not None else None
        return reply(await self._once.run(account_id, once, work))

    async def page(self, request: web.Request) -> web.Response:
        """Imports, newest first."""
        self._lists.refuse_unknown(request)
        account_id = request[CALLER].account_id

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.page(
                connection,
                account_id,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count(connection, account_id, limit=COUNT_LIMIT + 1)

        return await self._lists.answer(request, rows, count, schema.contact_import)

    async def one(self, request: web.Request) -> web.Response:
        """One import."""
        import_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, import_id)
        return one(schema.contact_import(found(row, _WHAT)))

    async def errors(self, request: web.Request) -> web.StreamResponse:
        """The refused rows, streamed a bounded number at a time."""
        import_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            found(await store.one(connection, request[CALLER].account_id, import_id), _WHAT)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"',
            }
        )
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(_csv([("line", "phone", "code", "detail")]))
        line = 0
        while True:
            async with self._pool.acquire() as connection:
                rows = await store.errors(
                    connection, import_id, after_line=line, limit=_ERRORS_AT_ONCE
                )
            if not rows:
                break
            line = rows[-1]["line"]
            await response.write(_csv([tuple(row) for row in rows]))
        await response.write_eof()
        return response


def _too_many(detail: str, *, retry_seconds: int) -> Problem:
    return Problem(429, "rate_limited", detail, headers={"Retry-After": str(retry_seconds)})


def _fingerprint(group_id: int | None, file: CsvFile) -> bytes:
    return hashlib.sha256(f"import {group_id} ".encode() + file.digest).digest()


async def _write(
    connection: Connection, account_id: int, group_id: int | None, file: CsvFile
) -> Any:
    """Every row of the file, in the transaction of the answer."""
    # A repetition of the work after a conflict begins anew.
    await asyncio.to_thread(file.read_header)
    import_id = await store.create(connection, account_id, group_id, file.columns)
    total = number = 0
    while rows := await asyncio.to_thread(file.read_rows):
        total += len(rows)
        if total > ROWS_LIMIT:
            raise invalid("file", f"Must have at most {ROWS_LIMIT} rows.")
        await store.put_chunk(connection, import_id, number, orjson.dumps(rows))
        number += 1
    if not total:
        raise invalid("file", "The file has no rows below its header.")
    return await store.received(connection, import_id, total)


def _csv(rows: list[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def _harmless(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
