"""Credits and the ledger: resources."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.shapes import Row, Time
from service.core.times import rfc3339


class Credits(msgspec.Struct):
    """What can still be reserved, and what is reserved."""

    balance: int
    reserved: int


class LedgerEntry(msgspec.Struct):
    """A movement of credits; `amount` is its effect on the balance."""

    id: int
    type: Literal["grant", "reserve", "settle", "release", "refund"]
    amount: int
    count: int
    message_id: int | None
    campaign_id: int | None
    note: str | None
    balance_after: int | None
    created_at: Time


def ledger_entry(row: Row) -> LedgerEntry:
    """The ledger entry resource."""
    return LedgerEntry(
        id=row["id"],
        type=row["type"],
        amount=row["amount"],
        count=row["count"],
        message_id=row["message_id"],
        campaign_id=row["campaign_id"],
        note=row["note"],
        balance_after=row["balance_after"],
        created_at=rfc3339(row["created_at"]),
    )
