"""Messages sent over HTTP, and the calls that the simulated WhatsApp received for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from service.store import devices
from service.store.pool import Pool
from tests.system import Account, Hantar


async def send(hantar: Hantar, account: Account, phone: str = "+60123456789", **body: Any) -> int:
    """The id of one message."""
    answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "hi", **body})
    assert answer.status == 202, answer.json
    message_id: int = answer.json["data"]["id"]
    return message_id


async def send_bulk(hantar: Hantar, account: Account, count: int, **fields: Any) -> list[int]:
    """The ids of a bulk to numbers of their own."""
    items = [{"phone": f"+6012{3000000 + n}", "body": "hi"} for n in range(count)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items, **fields})
    assert answer.status == 202, answer.json
    return [item["id"] for item in answer.json["queued"]]


async def calls_of(pool: Pool, ids: Sequence[int]) -> list[float]:
    """When each call for these messages was received, on the machine's monotonic clock."""
    rows = await pool.fetch(
        "SELECT called_at FROM simulator_calls WHERE message_id = ANY($1::bigint[]) "
        "ORDER BY called_at",
        list(ids),
    )
    return [row["called_at"] for row in rows]


async def order_of(pool: Pool, ids: Sequence[int]) -> list[int]:
    """The messages in the order of their calls."""
    rows = await pool.fetch(
        "SELECT message_id FROM simulator_calls WHERE message_id = ANY($1::bigint[]) "
        "ORDER BY called_at, id",
        list(ids),
    )
    return [row["message_id"] for row in rows]


def overtaken(order: Sequence[int], ids: Sequence[int]) -> int:
    """How many places the message that was passed by most came too late.

    Calls of the same moment are on their way together: a few may swap.
    """
    place = {id_: n for n, id_ in enumerate(ids)}
    return max(n - place[id_] for n, id_ in enumerate(order))


async def pause(pool: Pool, account: Account, *, paused: bool) -> None:
    """Stop the account's device or let it go on, as the operators' command does."""
    async with pool.acquire() as connection:
        await devices.change_state(connection, None, account.device_id, paused=paused)


def in_seconds(seconds: float) -> str:
    """The time that many seconds from now, as the API takes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def gaps(times: Sequence[float]) -> list[float]:
    """The seconds from each call to the next."""
    return [late - early for early, late in pairwise(times)]
