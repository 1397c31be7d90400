"""What has to wait because an answer concerned more than its message."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import structlog

from service.core.lifecycle import Change
from service.record.devices import change_state
from service.store import record
from service.store.outbox import Entry
from service.store.pool import Connection
from service.telemetry import metrics

log = structlog.get_logger(__name__)


async def hold(
    connection: Connection, changes: Sequence[Change], moved: Sequence[asyncpg.Record]
) -> list[Entry]:
    """Note the holds of changes that took effect, in their transaction; its events."""
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
    endless = {(devices[id_], each.scope, each.code) for id_, each in taking if each.until is None}
    events: list[Entry] = []
    for device_id, scope, code in sorted(endless):
        for stopped in await record.devices_in_scope(connection, device_id, scope):
            events += await stop_device(connection, stopped, code)
    return events


async def stop_device(connection: Connection, device_id: int, reason: str) -> Sequence[Entry]:
    """Take a device out of use until somebody resumes it, in a transaction; its messages wait."""
    events = await change_state(connection, None, device_id, state="error", reason=reason)
    if events:
        metrics.DEVICES_STOPPED.labels(reason).inc()
        log.error("device_stopped", device_id=device_id, reason=reason)
    return events or []
