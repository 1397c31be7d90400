"""A large campaign whose worker is killed in the middle of a chunk and after one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.acceptance.imports import client, peak_mebibytes
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.system import eventually

WITHIN_SECONDS = 300.0
_CROWD = """
WITH made AS (
    INSERT INTO contacts (account_id, phone, name, attributes)
    SELECT $1, '+6012' || lpad(n::text, 7, '0'), 'Person ' || n, '{"city": "Ipoh"}'
    FROM generate_series(0, $3 - 1) n RETURNING id
)
INSERT INTO contact_group_members SELECT $2, id FROM made
"""


@dataclass(slots=True)
class Figures:
    """What was measured on the way."""

    answered_seconds: float = 0.0
    recipients_per_second: float = 0.0
    ingress_mebibytes: float = 0.0
    #: of the worker that came to the end
    intake_mebibytes: float = 0.0
    progress_milliseconds: float = 0.0


async def campaign_through_kills(installation: Installation, recipients: int) -> Figures:
    """Make it, and check that every recipient became one message exactly once."""
    figures = Figures()
    [ingress] = await installation.run("ingress")
    done = await installation.processes.do(
        "credits", "grant", str(installation.account), str(recipients)
    )
    assert done.code == 0, done
    made = await _make(installation, ingress, recipients, figures)
    chunks = recipients // 500
    # The first dies with a chunk in hand, the second between its commit and the hand-over.
    for point, chunk in (("before_commit", chunks // 4), ("committed", chunks // 4)):
        worker = installation.processes.start(
            "run",
            "--roles",
            "intake",
            environment={
                "HANTAR_TEST": "on",
                "HANTAR_FAILPOINTS": f"chunk.{point}=kill@{chunk}",
            },
        )
        assert await worker.ends(WITHIN_SECONDS) == -9
    before, began = await _rows(installation, made["id"]), time.monotonic()
    assert 0 < before < recipients
    intake, recorder = await installation.run("intake", "recorder")

    async def expanded() -> bool:
        left: int = await installation.pool.fetchval(
            "SELECT pending + unfit FROM campaigns WHERE id = $1", made["id"]
        )
        return left == 0

    await eventually(expanded, within_seconds=WITHIN_SECONDS)
    figures.recipients_per_second = (recipients - before) / (time.monotonic() - began)
    figures.intake_mebibytes = peak_mebibytes(intake)
    figures.ingress_mebibytes = peak_mebibytes(ingress)
    await _check(installation, ingress, made["id"], recipients, figures)
    await installation.stop(ingress, intake, recorder)
    return figures


async def _make(
    installation: Installation, ingress: Process, recipients: int, figures: Figures
) -> dict[str, Any]:
    async with client(installation, ingress) as http:
        async with http.post("/api/v1/contact-groups", json={"name": "All"}) as answer:
            group_id = (await answer.json())["data"]["id"]
        await installation.pool.execute(
            _CROWD, installation.account, group_id, recipients, timeout=60
        )
        body = {"name": "N", "body": "Hi {{name}} of {{city}}", "contact_group_id": group_id}
        began = time.monotonic()
        async with http.post("/api/v1/campaigns", json=body) as answer:
            assert answer.status == 201, await answer.text()
            made: dict[str, Any] = (await answer.json())["data"]
        figures.answered_seconds = time.monotonic() - began
    assert made["counts"]["total"] == made["credits"]["reserved"] == recipients
    return made


async def _rows(installation: Installation, campaign_id: int) -> int:
    found: int = await installation.pool.fetchval(
        "SELECT count(*) FROM messages WHERE campaign_id = $1", campaign_id
    )
    return found


async def _check(
    installation: Installation,
    ingress: Process,
    campaign_id: int,
    recipients: int,
    figures: Figures,
) -> None:
    row = await installation.pool.fetchrow(
        "SELECT count(*) AS rows, count(DISTINCT phone) AS phones, count(DISTINCT body) AS bodies, "
        "count(*) FILTER (WHERE status = 'queued' AND credit = 'reserved') AS queued "
        "FROM messages WHERE campaign_id = $1",
        campaign_id,
    )
    assert row is not None
    assert set(row.values()) == {recipients}
    async with client(installation, ingress) as http:
        began = time.monotonic()
        async with http.get(f"/api/v1/campaigns/{campaign_id}") as answer:
            shown = (await answer.json())["data"]
        figures.progress_milliseconds = (time.monotonic() - began) * 1000
    assert shown["counts"] | {"total": 0, "queued": 0} == dict.fromkeys(shown["counts"], 0)
    assert shown["counts"]["total"] == shown["counts"]["queued"] == recipients
    audit = await installation.processes.do("credits", "audit")
    assert audit.code == 0, audit
