"""The main job inside one process: a bulk is accepted, sent, delivered and paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tests.system import Hantar, eventually

SAMPLE = Path("schemas/examples/bulk-1000.json")
VALID = 988


async def test_every_valid_message_of_the_sample_is_delivered_once(hantar: Hantar) -> None:
    account = await hantar.account(credits=1000)
    bulk = orjson.loads(SAMPLE.read_bytes())
    answer = await hantar.post("/messages/bulk", account, bulk)
    assert answer.status == 202
    assert answer.json["credits"] == {"charged": VALID, "balance": 1000 - VALID}

    async def all_delivered() -> Any:
        page = await hantar.get("/messages?status=delivered&per_page=1", account)
        return page.json["meta"]["total"] == VALID

    await eventually(all_delivered)
    calls = await hantar.pool.fetch(
        "SELECT message_id, count(*) FROM simulator_calls GROUP BY message_id"
    )
    assert sorted(row["message_id"] for row in calls) == [
        item["id"] for item in answer.json["queued"]
    ]
    assert {row["count"] for row in calls} == {1}
    assert await hantar.balance(account) == 1000 - VALID
    assert await hantar.drifting() == []
