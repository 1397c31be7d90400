"""A large import and a campaign to all of it on the embedded default, killed twice in each.

One process does everything: it takes the file and the campaign, works them off and sends meanwhile.
"""

from __future__ import annotations

import contextlib
import csv
import io
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.acceptance.demo import Demo, demo, start
from tests.acceptance.imports import CHUNK, Crowd, crowd, peak_mebibytes
from tests.acceptance.processes import Process, Processes
from tests.system import eventually

WITHIN_SECONDS = 300.0
TEXT = "Hi {{name}} of {{city}}"


@dataclass(slots=True)
class Figures:
    """What was measured on the way; memory is the most that each process in turn ever had."""

    idle_mebibytes: float = 0.0
    import_answered_seconds: float = 0.0
    import_rows_per_second: float = 0.0
    #: until everybody was imported, by the process that came to the end of it
    import_mebibytes: float = 0.0
    campaign_answered_seconds: float = 0.0
    campaign_recipients_per_second: float = 0.0
    campaign_mebibytes: float = 0.0
    #: of those that were killed, right before the end
    killed_mebibytes: list[float] = field(default_factory=list)


async def everything_through_kills(processes: Processes, rows: int) -> Figures:
    """Import, make the campaign, and check that everybody has one contact and one message."""
    figures = Figures()
    people = crowd(rows)
    running = await start(processes, environment=_dies("before_commit", rows))
    figures.idle_mebibytes = peak_mebibytes(running.process)
    account = (await running.call("GET", "/me")).json["data"]["account"]["id"]
    granted = await processes.do("credits", "grant", str(account), str(rows))
    assert granted.code == 0, granted

    group_id = (await running.call("POST", "/contact-groups", {"name": "All"})).json["data"]["id"]
    import_id = await _upload(running, people.text, group_id, figures)
    running = await _through_kills(processes, running.process, rows, figures)
    figures.import_rows_per_second = await _worked_off(running, "imported", import_id)
    figures.import_mebibytes = peak_mebibytes(running.process)
    await _check_import(running, people, import_id, group_id, rows)
    assert await running.process.terminate() == 0

    running = await start(processes, environment=_dies("before_commit", rows))
    campaign_id = await _campaign(running, group_id, len(people.names), figures)
    running = await _through_kills(processes, running.process, rows, figures)
    figures.campaign_recipients_per_second = await _worked_off(running, "expanded", campaign_id)
    figures.campaign_mebibytes = peak_mebibytes(running.process)
    await _check_campaign(running, campaign_id, people)
    audit = await processes.do("credits", "audit")
    assert audit.code == 0, audit
    assert await running.process.terminate() == 0
    return figures


def _dies(point: str, rows: int) -> dict[str, str]:
    """The process kills itself when it has come through a quarter of the chunks."""
    chunk = max(1, rows // CHUNK // 4)
    return {"HANTAR_TEST": "on", "HANTAR_FAILPOINTS": f"chunk.{point}=kill@{chunk}"}


async def _through_kills(processes: Processes, first: Process, rows: int, figures: Figures) -> Demo:
    """The first dies with a chunk in hand, the next between its commit and the hand-over."""
    await _died(first, figures)
    second = processes.start("run", environment=_dies("committed", rows))
    await _died(second, figures)
    return await demo(processes.start("run"), processes.folder / ".hantar")


async def _died(process: Process, figures: Figures) -> None:
    peak = 0.0

    async def look() -> bool:
        nonlocal peak
        # Once it is gone, so is what is known of its memory.
        with contextlib.suppress(FileNotFoundError, ValueError):
            peak = max(peak, peak_mebibytes(process))
        return process.code is not None

    await eventually(look, within_seconds=WITHIN_SECONDS)
    assert process.code == -9, process.tail
    figures.killed_mebibytes.append(peak)


async def _upload(running: Demo, text: str, group_id: int, figures: Figures) -> int:
    headers = {"Authorization": f"Bearer {running.key}", "Content-Type": "text/csv"}
    url = f"{running.url}/api/v1/contacts/import?group_id={group_id}"
    data = io.BytesIO(text.encode())
    began = time.monotonic()
    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as http,
        http.post(url, data=data) as answer,
    ):
        assert answer.status == 202, await answer.text()
        made = (await answer.json())["data"]
    figures.import_answered_seconds = time.monotonic() - began
    return int(made["id"])


async def _campaign(running: Demo, group_id: int, recipients: int, figures: Figures) -> int:
    body = {"name": "N", "body": TEXT, "contact_group_id": group_id}
    began = time.monotonic()
    answer = await running.call("POST", "/campaigns", body)
    figures.campaign_answered_seconds = time.monotonic() - began
    assert answer.status == 201, answer.json
    made = answer.json["data"]
    assert made["counts"]["total"] == made["credits"]["reserved"] == recipients
    return int(made["id"])


_DONE = {
    "imported": "SELECT done, done = rows AND state = 'completed' FROM contact_imports "
    "WHERE id = $1",
    "expanded": "SELECT (SELECT count(*) FROM messages WHERE campaign_id = $1), "
    "pending + unfit = 0 FROM campaigns WHERE id = $1",
}


async def _worked_off(running: Demo, what: str, id_: int) -> float:
    """Wait until all is done; how many a second were, from now on."""
    async with running.database() as connection:

        async def state() -> tuple[int, bool]:
            row = await connection.fetchrow(_DONE[what], id_)
            assert row is not None
            return row[0], row[1]

        async def over() -> bool:
            return (await state())[1]

        began, (before, _) = time.monotonic(), await state()
        assert before > 0
        await eventually(over, within_seconds=WITHIN_SECONDS)
        done, _ = await state()
    return (done - before) / (time.monotonic() - began)


async def _check_import(
    running: Demo, people: Crowd, import_id: int, group_id: int, rows: int
) -> None:
    done = (await running.call("GET", f"/contacts/imports/{import_id}")).json["data"]
    counts = tuple(done[name] for name in ("rows", "done", "created", "updated", "rejected"))
    assert counts == (rows, rows, len(people.names), people.again, len(people.refused))
    headers = {"Authorization": f"Bearer {running.key}"}
    url = f"{running.url}/api/v1/contacts/imports/{import_id}/errors"
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
        refused = csv.DictReader(io.StringIO(await answer.text()))
        assert [int(row["line"]) for row in refused] == people.refused
    group = (await running.call("GET", f"/contact-groups/{group_id}")).json["data"]
    assert group["contacts"] == len(people.names)
    async with running.database() as connection:
        found = await connection.fetch("SELECT phone, name FROM contacts")
    assert len(found) == len(people.names)
    assert {row["phone"]: row["name"] for row in found} == people.names


async def _check_campaign(running: Demo, campaign_id: int, people: Crowd) -> None:
    """Each has one message with their own text, and nobody was called for twice."""
    async with running.database() as connection:
        found = await connection.fetch(
            "SELECT phone, body FROM messages WHERE campaign_id = $1", campaign_id
        )
        accepted: list[Any] = await connection.fetch(
            "SELECT message_id FROM simulator_calls WHERE accepted GROUP BY message_id, attempt "
            "HAVING count(*) > 1"
        )
    assert len(found) == len(people.names)
    texts = {phone: f"Hi {name} of Ipoh" for phone, name in people.names.items()}
    assert {row["phone"]: row["body"] for row in found} == texts
    assert accepted == []
    shown = (await running.call("GET", f"/campaigns/{campaign_id}")).json["data"]
    assert shown["counts"]["total"] == len(people.names)
    assert sum(shown["counts"].values()) == 2 * len(people.names)
