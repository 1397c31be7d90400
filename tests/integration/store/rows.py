"""Messages written straight into the tables, paid for as accept does it."""

from __future__ import annotations

from service.store.pool import Pool
from tests.system import Account

#: Ledger entries that bring a credit from the balance to where it is, with what each adds to it.
_BOOKED = {
    "reserved": [("reserve", -1)],
    "settled": [("reserve", -1), ("settle", 0)],
    "released": [("reserve", -1), ("release", 1)],
    "refunded": [("reserve", -1), ("settle", 0), ("refund", 1)],
}
_BOOK = """
WITH account AS (
    UPDATE accounts SET balance = balance + $2 WHERE id = $1 RETURNING balance
)
INSERT INTO ledger (account_id, type, count, balance_after)
SELECT $1, $3::ledger_type, $4::bigint, CASE WHEN $3::ledger_type <> 'settle' THEN balance END
FROM account
"""


async def put_messages(
    pool: Pool, account: Account, count: int = 1, *, credit: str = "reserved", **columns: object
) -> list[int]:
    """Messages to numbers of their own; `columns` are as in the table, queued unless given."""
    given = {"status": "queued", "priority": 1, "queued_at": None} | columns
    names = ", ".join(given)
    places = ", ".join(f"${place}" for place in range(5, 5 + len(given)))
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            f"INSERT INTO messages (account_id, device_id, credit, phone, body, {names}) "
            "SELECT $1, $2, $3::message_credit, '+6012' || (3000000 + n)::text, 'hello', "
            f"{places} FROM generate_series(1, $4::int) n RETURNING id",
            account.id,
            account.device_id,
            credit,
            count,
            *given.values(),
        )
        for entry, sign in _BOOKED[credit]:
            await connection.execute(_BOOK, account.id, sign * count, entry, count)
    return [row["id"] for row in rows]


async def statuses(pool: Pool, ids: list[int]) -> list[str]:
    """The status of each message, in the order of the ids."""
    rows = await pool.fetch("SELECT id, status FROM messages WHERE id = ANY($1::bigint[])", ids)
    found = {row["id"]: row["status"] for row in rows}
    return [found[message_id] for message_id in ids]
