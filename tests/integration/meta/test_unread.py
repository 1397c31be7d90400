"""What Meta says that nothing here reads is kept and counted, and is never an error."""

from __future__ import annotations

from typing import Any

import orjson

from service.core.words import Words
from service.store import unread
from tests.integration.meta.business import PHONE
from tests.servers.cloud_api import CloudApi, Number
from tests.servers.cloud_api.callbacks import messages_value, status
from tests.system import SEAL, Account, Hantar, eventually


async def kept(hantar: Hantar, count: int) -> dict[str, Any]:
    """Of each kind its row, once so many have come."""

    async def look() -> dict[str, Any] | None:
        async with hantar.pool.acquire() as connection:
            rows = await unread.all_of(connection, None)
        return (
            {row["kind"]: row for row in rows} if sum(r["count"] for r in rows) == count else None
        )

    found: dict[str, Any] = await eventually(look)
    return found


async def test_unknown_kinds_are_counted_and_the_last_is_kept_sealed(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    for n in range(3):
        await cloud.notify(number, "user_preferences", {"wa_id": PHONE[1:], "n": n})
    orbiting = status("wamid.9", PHONE, "in_orbit", None)
    later = messages_value(number, statuses=[orbiting])
    await cloud.notify(number, "messages", later)
    rows = await kept(hantar, 4)
    assert {kind: (row["device_id"], row["count"]) for kind, row in rows.items()} == {
        "user_preferences": (account.device_id, 3),
        "status": (account.device_id, 1),
    }
    assert rows["status"]["first_at"] == rows["status"]["last_at"]
    body = rows["user_preferences"]["body"]
    assert PHONE[1:].encode() not in body
    words = Words(SEAL)
    assert orjson.loads(words.open(body) or "") == {"wa_id": PHONE[1:], "n": 2}
    assert orjson.loads(words.open(rows["status"]["body"]) or "") == orbiting


async def test_what_did_not_come_again_is_forgotten(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    await cloud.notify(number, "flows", {})
    await cloud.notify(number, "history", {})
    await kept(hantar, 2)
    await hantar.pool.execute(
        "UPDATE unread_callbacks SET last_at = now() - interval '31 days' WHERE kind = 'flows'"
    )
    await unread.forget(hantar.pool)
    assert list(await kept(hantar, 1)) == ["history"]
