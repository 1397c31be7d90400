"""A large import whose worker is killed in the middle of a chunk, twice, and what came of it."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from asyncpg.transaction import Transaction

from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.system import eventually

CHUNK = 500
#: Every so many rows one is refused; every so many another phone comes a second time.
FAULTY, AGAIN = 50, 20
WITHIN_SECONDS = 300.0


@dataclass(slots=True)
class Figures:
    """What was measured on the way."""

    answered_seconds: float = 0.0
    rows_per_second: float = 0.0
    #: of the process that took the file, and of the one that worked it off to its end
    ingress_mebibytes: float = 0.0
    intake_mebibytes: float = 0.0
    #: longest answers of their /livez meanwhile
    ingress_pause_seconds: float = 0.0
    intake_pause_seconds: float = 0.0


@dataclass(slots=True)
class Crowd:
    """A file of so many rows, and what has to come of it."""

    text: str = ""
    names: dict[str, str] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    again: int = 0


def crowd(rows: int) -> Crowd:
    """Rows of which some are refused, and some name a phone of a much earlier row."""
    made = Crowd()
    lines = ["phone,name,city"]
    for number in range(rows):
        phone = f"012{number:07}"
        if number % FAULTY == 7:
            lines.append(f"12,Nobody {number},Ipoh")
            made.refused.append(number + 2)
            continue
        if number % AGAIN == 13 and number > 2 * CHUNK:
            phone = f"012{number - 2 * CHUNK:07}"
        made.again += f"+6{phone}" in made.names
        made.names[f"+6{phone}"] = f"Person {number}"
        lines.append(f"{phone},Person {number},Ipoh")
    made.text = "\r\n".join(lines)
    return made


async def import_through_kills(installation: Installation, rows: int) -> Figures:
    """Import, and check that every row had its effect exactly once."""
    figures = Figures()
    people = crowd(rows)
    ingress, intake = await installation.run("ingress", "intake")
    chunks = rows // CHUNK
    async with AsyncExitStack() as blocks:
        # Before there is anything to work off, as no worker may pass by.
        blocked = [
            (chunk, await blocks.enter_async_context(_blocked_at(installation, chunk)))
            for chunk in (chunks // 4, chunks // 2)
        ]
        started = await _upload(installation, ingress, people.text, figures)
        import_id, group_id = started["id"], started["group_id"]
        for chunk, block in blocked:
            await _stuck_at(installation, import_id, chunk)
            intake.kill()
            await block.rollback()
            [intake] = await installation.run("intake")
    pauses = asyncio.create_task(_longest_pause(intake))
    before, began = await _progress(installation, import_id), time.monotonic()

    async def look() -> bool:
        state: str = (await _progress(installation, import_id))["state"]
        return state == "completed"

    await eventually(look, within_seconds=WITHIN_SECONDS)
    done = await _progress(installation, import_id)
    figures.rows_per_second = (rows - before["done"]) / (time.monotonic() - began)
    figures.intake_pause_seconds = await _ended(pauses)
    figures.intake_mebibytes = peak_mebibytes(intake)
    figures.ingress_mebibytes = peak_mebibytes(ingress)
    await _check(installation, done, people, rows)
    await _check_over_http(installation, ingress, import_id, group_id, people)
    await installation.stop(ingress, intake)
    return figures


async def _upload(
    installation: Installation, ingress: Process, text: str, figures: Figures
) -> dict[str, Any]:
    pauses = asyncio.create_task(_longest_pause(ingress))
    async with client(installation, ingress) as http:
        async with http.post("/api/v1/contact-groups", json={"name": "All"}) as answer:
            group_id = (await answer.json())["data"]["id"]
        data = text.encode()
        began = time.monotonic()
        async with http.post(
            f"/api/v1/contacts/import?group_id={group_id}",
            data=io.BytesIO(data),
            headers={"Content-Type": "text/csv"},
        ) as answer:
            assert answer.status == 202, await answer.text()
            made: dict[str, Any] = (await answer.json())["data"]
        figures.answered_seconds = time.monotonic() - began
    figures.ingress_pause_seconds = await _ended(pauses)
    return made


@asynccontextmanager
async def _blocked_at(installation: Installation, chunk: int) -> AsyncIterator[Transaction]:
    """A contact of this chunk is in our hands, until the transaction is rolled back."""
    async with installation.pool.acquire() as connection:
        transaction: Transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.execute(
            "INSERT INTO contacts (account_id, phone) VALUES ($1, $2)",
            installation.account,
            f"+6012{chunk * CHUNK + 1:07}",
        )
        yield transaction


async def _stuck_at(installation: Installation, import_id: int, chunk: int) -> None:
    """Return once the worker is in the middle of this chunk: it waits for a contact of ours."""

    async def look() -> bool:
        done = (await _progress(installation, import_id))["done"]
        waiting: int = await installation.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO contacts %'"
        )
        return waiting > 0 and done == chunk * CHUNK

    await eventually(look, within_seconds=WITHIN_SECONDS)


async def _check(installation: Installation, done: Any, people: Crowd, rows: int) -> None:
    counts = tuple(done[name] for name in ("rows", "done", "created", "updated", "rejected"))
    assert counts == (rows, rows, len(people.names), people.again, len(people.refused))
    found = await installation.pool.fetch(
        "SELECT phone, name, attributes->>'city' AS city FROM contacts WHERE account_id = $1",
        installation.account,
    )
    assert len(found) == len(people.names)
    assert {row["phone"]: row["name"] for row in found} == people.names
    assert {row["city"] for row in found} == {"Ipoh"}
    assert await installation.pool.fetchval("SELECT count(*) FROM contact_import_chunks") == 0


async def _check_over_http(
    installation: Installation, ingress: Process, import_id: int, group_id: int, people: Crowd
) -> None:
    async with client(installation, ingress) as http:
        async with http.get(f"/api/v1/contacts/imports/{import_id}/errors") as answer:
            refused = [int(row["line"]) for row in csv.DictReader(io.StringIO(await answer.text()))]
        async with http.get(f"/api/v1/contact-groups/{group_id}") as answer:
            members = (await answer.json())["data"]["contacts"]
    assert refused == people.refused
    assert members == len(people.names)


@asynccontextmanager
async def client(
    installation: Installation, ingress: Process
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session of the account's at this process."""
    api, _ = await ingress.ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    limit = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(api, headers=headers, timeout=limit) as http:
        yield http


async def _progress(installation: Installation, import_id: int) -> Any:
    return await installation.pool.fetchrow(
        "SELECT state, rows, done, created, updated, rejected FROM contact_imports WHERE id = $1",
        import_id,
    )


async def _longest_pause(process: Process) -> float:
    """The slowest answer of /livez until cancelled: it is no less than its loop was held."""
    _, ops = await process.ready()
    longest = 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        try:
            while True:
                began = time.monotonic()
                async with http.get(f"{ops}/livez") as answer:
                    await answer.read()
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            return longest


async def _ended(pauses: asyncio.Task[float]) -> float:
    pauses.cancel()
    return await pauses


def peak_mebibytes(process: Process) -> float:
    """The most memory it ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
