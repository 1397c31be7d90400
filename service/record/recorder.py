"""The one module that writes a message's status after its claim."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson
import structlog

from schemas.commands import EVENT_PACK, OPTED_OUT_TYPE, STATUS_TYPE
from service.core.lifecycle import Change, fold
from service.core.times import rfc3339
from service.relay import EVENTS_EXCHANGE, Relay
from service.store import record
from service.store.group_commit import GroupCommit
from service.store.outbox import Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Dedicated, Pool
from service.store.record import LedgerEntry, PublicEvent
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: With so many changes unwritten a dispatcher claims nothing more.
MOST_UNWRITTEN = 10_000
#: Between tries to write while the database is away.
RETRY_SECONDS = 0.5
CLOSE_SECONDS = 10.0

_LEDGER_TYPE = {"settled": "settle", "released": "release", "refunded": "refund"}


@dataclass(frozen=True, slots=True)
class Through:
    """Everything of this claim has been reported; put after its last change."""

    claim: int


class Recorder:
    """Merges status changes into Postgres with credits and public events, in one transaction each.

    Changes are kept until they are written, however long the database is away; `full` tells the
    dispatcher to claim nothing more meanwhile.
    """

    def __init__(self, pool: Pool, dsn: str, relay: Relay, *, doubt_seconds: float) -> None:
        self._pool = pool
        self._dedicated = Dedicated(dsn, name="recorder")
        self._relay = relay
        self._doubt_seconds = doubt_seconds
        self._group: GroupCommit[Change | Through, None] = GroupCommit(self._write, name="record")

    @property
    def full(self) -> bool:
        """Whether too much is unwritten to take on more."""
        return self._group.depth > MOST_UNWRITTEN

    def start(self) -> None:
        """Begin to write."""
        metrics.UNWRITTEN.set_function(lambda: self._group.depth)
        self._group.start()

    def put(self, changes: Sequence[Change | Through]) -> asyncio.Future[Sequence[None]]:
        """Write these; the future is done when they are committed."""
        return self._group.put(changes)

    async def opt_out(self, *, device_id: int, phone: str, at: datetime) -> None:
        """Opt a person out of the device's account, with its public event."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await record.opt_out(connection, device_id=device_id, phone=phone, at=at)
            if row is None:
                return
            body = orjson.dumps(
                {
                    "account": row["account_id"],
                    "contact_id": row["id"],
                    "phone": phone,
                    "at": rfc3339(at),
                }
            )
            event_id = await record.put_event(
                connection,
                routing_key="contact.opted_out",
                event_type=OPTED_OUT_TYPE,
                body=body,
            )
        self._relay.offer(
            [Entry(event_id, EVENTS_EXCHANGE, "contact.opted_out", OPTED_OUT_TYPE, body)]
        )

    async def close(self) -> None:
        """Write what was put, for a bounded time."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._group.close()
        except TimeoutError:
            log.error("record_unwritten_at_close", changes=self._group.depth)
        await self._dedicated.close()

    async def _write(self, items: list[Change | Through]) -> list[None]:
        changes = fold(item for item in items if isinstance(item, Change))
        claims = [item.claim for item in items if isinstance(item, Through)]
        while True:
            try:
                await self._write_once(changes, claims)
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("record_failed", error=type(error).__name__, changes=len(changes))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # One that cannot be written must not take the others of its group along.
                if len(items) == 1:
                    raise
                log.exception("record_split", changes=len(changes))
                return await self._write_singly(items)
            else:
                metrics.GROUP_SIZE.labels("record").observe(len(items))
                return [None] * len(items)

    async def _write_singly(self, items: list[Change | Through]) -> list[None]:
        for item in items:
            try:
                await self._write([item])
            except Exception:
                log.exception("change_refused", message_id=getattr(item, "message_id", None))
        return [None] * len(items)

    async def _write_once(self, changes: list[Change], claims: list[int]) -> None:
        async with self._dedicated as connection, connection.transaction():
            moved = []
            if changes:
                moved = await record.merge(connection, changes, doubt_seconds=self._doubt_seconds)
            entries = _ledger_entries(moved)
            events = _public_events(moved)
            ids = []
            if entries or events or claims:
                ids = await record.settle(
                    connection, entries, events, event_type=STATUS_TYPE, claims=claims
                )
        self._relay.offer(
            [
                Entry(id_, EVENTS_EXCHANGE, event.routing_key, STATUS_TYPE, event.body)
                for id_, event in zip(ids, events, strict=True)
            ]
        )
        _count(moved, entries)


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
    groups: dict[tuple[int, str], list[dict[str, object]]] = defaultdict(list)
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
            }
        )
    return [
        PublicEvent(
            f"message.{status}",
            orjson.dumps({"account": account, "events": events[start : start + EVENT_PACK]}),
        )
        for (account, status), events in groups.items()
        for start in range(0, len(events), EVENT_PACK)
    ]


def _count(moved: Iterable[asyncpg.Record], entries: Iterable[LedgerEntry]) -> None:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in moved:
        counts[row["driver"], row["status"]] += 1
    for (driver, status), count in counts.items():
        metrics.STATUS.labels(driver, status).inc(count)
    for entry in entries:
        metrics.CREDITS.labels(entry.type).inc(entry.count)
