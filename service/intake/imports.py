"""Works off imports of contacts, chunk by chunk, each in a transaction of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from service.core.phone import normalise
from service.core.text import attributes_error, name_error
from service.store import groups
from service.store import imports as store
from service.store.imports import Row, RowError
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Pool

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
_NAME_LIMIT_CHARS = 255
_SHOWN_CHARS = 64
_PLACES = ("phone", "name", "external_id")
#: Stands where the file had a NUL.
_NUL = "\ufffe"


@dataclass(slots=True)
class _Sorted:
    """A chunk, sorted into contacts by phone and refused rows; `again` rows met a phone twice."""

    rows: dict[str, Row] = field(default_factory=dict)
    refused: list[RowError] = field(default_factory=list)
    again: int = 0


class Imports:
    """Takes one chunk after the other, of the oldest import first.

    A chunk is taken out, applied and counted in one transaction: whoever dies in the middle has
    done nothing of it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name="imports")

    async def close(self) -> None:
        """Stop; the chunk in hand is rolled back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                worked = await self.work_once()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                worked = False
                log.warning("import_deferred", error=type(error).__name__)
            except Exception:
                worked = False
                log.exception("import_failed")
            if not worked:
                await asyncio.sleep(LOOK_SECONDS)

    async def work_once(self) -> bool:
        """One chunk; whether there was one."""
        async with self._pool.acquire() as connection, connection.transaction():
            taken = await store.take(connection)
            if taken is None:
                return False
            body = await store.next_chunk(connection, taken["id"])
            rows = orjson.loads(body) if body is not None else []
            sorted_rows = await asyncio.to_thread(_sort, rows, taken["columns"])
            await self._apply(connection, taken, len(rows), sorted_rows)
        return True

    async def _apply(self, connection: Connection, taken: Any, count: int, chunk: _Sorted) -> None:
        made: dict[int, bool] = {}
        if chunk.rows:
            with_attributes = any(name not in _PLACES for name in taken["columns"])
            made = await store.upsert(
                connection,
                taken["account_id"],
                list(chunk.rows.values()),
                with_attributes=with_attributes,
            )
            if taken["group_id"] is not None:
                await groups.add(connection, taken["group_id"], made)
        if chunk.refused:
            await store.put_errors(connection, taken["id"], chunk.refused)
        created = sum(made.values())
        state = await store.advance(
            connection,
            taken["id"],
            done=count,
            created=created,
            updated=len(made) - created + chunk.again,
            rejected=len(chunk.refused),
        )
        if state == "completed":
            log.info("import_completed", import_id=taken["id"])


def _sort(rows: list[tuple[int, list[str]]], columns: list[str]) -> _Sorted:
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


def _read(line: int, cells: list[str], columns: list[str]) -> Row | RowError:
    if len(cells) != len(columns):
        detail = f"The row has {len(cells)} cells, the header {len(columns)}."
        return RowError(line, None, "wrong_number_of_cells", detail)
    values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    given = values["phone"][:_SHOWN_CHARS].replace(_NUL, "")
    phone = normalise(values["phone"])
    if phone is None:
        return RowError(line, given, "invalid_phone", "The phone is not a Malaysian number.")
    for name in ("name", "external_id"):
        if (value := values.get(name)) and (error := _text_error(value)):
            return RowError(line, given, "validation_failed", f"{name}: {error}")
    attributes = {name: value for name, value in values.items() if name not in _PLACES and value}
    error = attributes_error(attributes)
    if error is None and any(_NUL in value for value in attributes.values()):
        error = "Must not contain a NUL character."
    if error is not None:
        return RowError(line, given, "validation_failed", error)
    return Row(
        phone,
        values.get("name") or None,
        values.get("external_id") or None,
        orjson.dumps(attributes).decode(),
    )


def _text_error(text: str) -> str | None:
    if _NUL in text:
        return "Must not contain a NUL character."
    return name_error(text, _NAME_LIMIT_CHARS)
