"""What has to wait because an answer concerned more than its message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import asyncpg
import structlog

from service.campaigns import tell
from service.core.lifecycle import Change
from service.record.devices import change_state
from service.store import campaigns as store
from service.store import record
from service.store.outbox import Entry
from service.store.pool import Connection
from service.telemetry import metrics

log = structlog.get_logger(__name__)


async def hold(
    connection: Connection, changes: Sequence[Change], moved: Sequence[asyncpg.Record]
) -> list[Entry]:
    """Note the holds of changes that took effect, in their transaction; its events."""
    # A message may reach one of the devices of a person after another could not show it.
    reached = [row for row in moved if row["old_status"] == "failed"]
    if reached:
        await record.reached(connection, [(row["device_id"], row["phone"]) for row in reached])
    holding = [change for change in changes if change.hold is not None]
    if not holding:
        return []
    devices = {row["id"]: row["device_id"] for row in moved}
    taking = [
        (change.message_id, change.hold)
        for change in holding
        if change.hold is not None and change.message_id in devices
    ]
    ending = [(id_, each) for id_, each in taking if each.until is not None]
    if ending:
        await record.hold(connection, ending)
    endless = [(id_, each) for id_, each in taking if each.until is None]
    campaigns = {row["id"]: row["campaign_id"] for row in moved if row["campaign_id"] is not None}
    stopping = {campaigns.get(id_): each.code for id_, each in endless if each.scope == "template"}
    events = await _stop_campaigns(connection, stopping)
    wide = {(devices[id_], each.scope, each.code) for id_, each in endless}
    for device_id, scope, code in sorted(wide):
        if scope == "template":
            continue
        for stopped in await record.devices_in_scope(connection, device_id, scope):
            events += await stop_device(connection, stopped, code)
    return events


async def _stop_campaigns(connection: Connection, reasons: Mapping[int | None, str]) -> list[Entry]:
    """Pause campaigns that send what cannot be sent, until somebody resumes them."""
    ids = [id_ for id_ in reasons if id_ is not None]
    if not ids:
        return []
    now = datetime.now(UTC)
    events = []
    for campaign_id in await store.pause_going(connection, ids):
        reason = reasons[campaign_id]
        metrics.CAMPAIGNS_STOPPED.labels(metrics.STOPS(reason)).inc()
        log.error("campaign_stopped", campaign_id=campaign_id, reason=reason)
        events.append(await tell(connection, campaign_id, now))
    return events


async def stop_device(connection: Connection, device_id: int, reason: str) -> Sequence[Entry]:
    """Take a device out of use until somebody resumes it, in a transaction; its messages wait."""
    events = await change_state(connection, None, device_id, state="error", reason=reason)
    if events:
        metrics.DEVICES_STOPPED.labels(metrics.STOPS(reason)).inc()
        log.error("device_stopped", device_id=device_id, reason=reason)
    return events or []
