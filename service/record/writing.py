"""Status changes, credits and public events, written together in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from schemas.commands import EVENT_PACK, STATUS_TYPE
from service.core.lifecycle import Change
from service.core.times import rfc3339
from service.record.holds import hold
from service.store import record
from service.store.outbox import EVENTS_EXCHANGE, Entry
from service.store.pool import Connection
from service.store.record import LedgerEntry, PublicEvent
from service.telemetry import metrics

_LEDGER_TYPE = {"settled": "settle", "released": "release", "refunded": "refund"}


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction wrote: the rows that moved, and its events, to be offered after it."""

    moved: Sequence[asyncpg.Record]
    entries: Sequence[Entry]
    credits: Sequence[LedgerEntry]

    def count(self) -> None:
        """Count it in the metrics, once it is committed."""
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.moved:
            counts[row["driver"], row["status"]] += 1
            if row["status"] == "failed":
                metrics.FAILED.labels(row["driver"], metrics.FAILURES(row["error_code"])).inc()
        for (driver, status), count in counts.items():
            metrics.STATUS.labels(driver, status).inc(count)
        for entry in self.credits:
            metrics.CREDITS.labels(entry.type).inc(entry.count)


async def write(
    connection: Connection,
    changes: Sequence[Change],
    *,
    claims: Sequence[int] = (),
    unwritten: Sequence[int] = (),
    doubt_seconds: float,
) -> Written:
    """Merge one change per message, ascending by id, in a transaction of the caller's.

    The notes of the claims are dropped, save those with a message of which something is unwritten.
    """
    moved: list[asyncpg.Record] = []
    if changes:
        moved = await record.merge(connection, changes, doubt_seconds=doubt_seconds)
    credits = _ledger_entries(moved)
    events = _public_events(moved)
    ids: list[int] = []
    if credits or events or claims:
        ids = await record.settle(
            connection,
            credits,
            events,
            event_type=STATUS_TYPE,
            claims=claims,
            unwritten=unwritten,
        )
    entries = [
        Entry(
            id_,
            EVENTS_EXCHANGE,
            event.routing_key,
            STATUS_TYPE,
            event.body,
            traceparent=event.traceparent,
        )
        for id_, event in zip(ids, events, strict=True)
    ]
    entries += await hold(connection, changes, moved)
    return Written(moved, entries, credits)


def _ledger_entries(moved: Iterable[asyncpg.Record]) -> list[LedgerEntry]:
    groups: dict[tuple[int, int | None, str], list[int]] = defaultdict(list)
    for row in moved:
        if row["credit"] != row["old_credit"]:
            kind = _LEDGER_TYPE[row["credit"]]
            groups[row["account_id"], row["campaign_id"], kind].append(row["id"])
    return [
        LedgerEntry(account, campaign, kind, len(ids), ids[0] if len(ids) == 1 else None)
        for (account, campaign, kind), ids in groups.items()
    ]


def _public_events(moved: Iterable[asyncpg.Record]) -> list[PublicEvent]:
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in moved:
        if row["status"] == "queued":
            continue
        code = row["error_code"]
        groups[row["account_id"], row["status"]].append(
            {
                "message_id": row["id"],
                "status": row["status"],
                "at": rfc3339(row["at"]),
                "seq": row["seq"],
                "phone": row["phone"],
                "device_id": row["device_id"],
                "campaign_id": row["campaign_id"],
                "reference": row["reference"],
                "provider_id": row["provider_id"],
                "error": {"code": code, "detail": row["error_detail"]} if code else None,
                "traceparent": row["traceparent"],
            }
        )
    return [
        _public_event(account, status, events[start : start + EVENT_PACK])
        for (account, status), events in groups.items()
        for start in range(0, len(events), EVENT_PACK)
    ]


def _public_event(account: int, status: str, events: list[dict[str, Any]]) -> PublicEvent:
    traces = {event["traceparent"] for event in events}
    return PublicEvent(
        f"message.{status}",
        orjson.dumps({"account": account, "events": events}),
        traces.pop() if len(traces) == 1 else None,
    )
