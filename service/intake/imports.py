"""Works off imports of contacts, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from service.core.phone import normalise
from service.core.text import attributes_error, name_error
from service.intake.rounds import CHUNK_SECONDS, Rounds
from service.store import groups
from service.store import imports as store
from service.store.imports import Row, RowError
from service.store.outbox import Entry
from service.store.pool import Connection

log = structlog.get_logger(__name__)

#: An import that ended is kept so long, as it holds phones as they were given.
KEEP_SECONDS = 30 * 24 * 3600.0
_NAME_LIMIT_CHARS = 255
_SHOWN_CHARS = 64
_PLACES = ("phone", "name", "external_id")
_FAILED = "The import met a fault of this service and was given up; what it did stays."


@dataclass(slots=True)
class _Sorted:
    """A chunk, sorted into contacts by phone and refused rows; `again` rows met a phone twice."""

    rows: dict[str, Row] = field(default_factory=dict)
    refused: list[RowError] = field(default_factory=list)
    again: int = 0


class Imports(Rounds):
    """Works off imports; accounts take turns, the imports of one go in order."""

    what = "import"

    async def _take(self, connection: Connection) -> Any:
        return await store.take(connection)

    async def _work_off(self, connection: Connection, taken: Any) -> Sequence[Entry]:
        await _work_off(connection, taken)
        return ()

    async def _give_up(self, connection: Connection, taken: Any) -> None:
        await store.fail(connection, taken["id"], _FAILED)

    async def tidy_once(self) -> bool:
        """Drop one import of long ago; whether there was one."""
        async with asyncio.timeout(CHUNK_SECONDS), self._pool.acquire() as connection:
            return await store.forget(connection, after_seconds=KEEP_SECONDS)


async def _work_off(connection: Connection, taken: Any) -> None:
    body = await store.next_chunk(connection, taken["id"])
    rows = orjson.loads(body) if body is not None else []
    chunk = await asyncio.to_thread(_sort, rows, taken["columns"])
    made = await _upsert(connection, taken, chunk)
    if chunk.refused:
        await store.put_errors(connection, taken["id"], chunk.refused)
    created = sum(made.values())
    state = await store.advance(
        connection,
        taken["id"],
        done=len(rows),
        created=created,
        updated=len(made) - created + chunk.again,
        rejected=len(chunk.refused),
    )
    if state == "completed":
        log.info("import_completed", import_id=taken["id"])


async def _upsert(connection: Connection, taken: Any, chunk: _Sorted) -> dict[int, bool]:
    """The contacts of a chunk, put into their group too while there is one."""
    if not chunk.rows:
        return {}
    account_id, group_id = taken["account_id"], taken["group_id"]
    made = await store.upsert(
        connection,
        account_id,
        list(chunk.rows.values()),
        with_attributes=any(name not in _PLACES for name in taken["columns"]),
    )
    if group_id is not None and await groups.hold(connection, account_id, group_id):
        await groups.add(connection, group_id, made)
    return made


def _sort(rows: list[tuple[int, list[str] | int]], columns: list[str]) -> _Sorted:
    """Off the event loop: what is no common spelling of a phone takes tens of µs."""
    chunk = _Sorted()
    for line, cells in rows:
        row = _read(line, cells, columns)
        if isinstance(row, RowError):
            chunk.refused.append(row)
            continue
        before = chunk.rows.get(row.phone)
        if before is not None:
            chunk.again += 1
            row = Row(
                row.phone,
                row.name or before.name,
                row.external_id or before.external_id,
                row.attributes,
            )
        chunk.rows[row.phone] = row
    return chunk


def _read(line: int, cells: list[str] | int, columns: list[str]) -> Row | RowError:
    if isinstance(cells, int):
        detail = f"The row has {cells} cells, the header {len(columns)}."
        return RowError(line, None, "wrong_number_of_cells", detail)
    values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    given = values["phone"][:_SHOWN_CHARS].replace("\0", "")
    phone = normalise(values["phone"])
    if phone is None:
        return RowError(line, given, "invalid_phone", "The phone is not a Malaysian number.")
    for name in ("name", "external_id"):
        if (value := values.get(name)) and (error := name_error(value, _NAME_LIMIT_CHARS)):
            return RowError(line, given, "validation_failed", f"{name}: {error}")
    attributes = {name: value for name, value in values.items() if name not in _PLACES and value}
    if error := attributes_error(attributes):
        return RowError(line, given, "validation_failed", error)
    return Row(
        phone,
        values.get("name") or None,
        values.get("external_id") or None,
        orjson.dumps(attributes).decode(),
    )
