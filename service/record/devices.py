"""Changes of a device's state, written with their public event."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from schemas.commands import DEVICE_STATE_TYPE, LinkItem
from service.core.lifecycle import LONGEST_TEXT_CHARS
from service.core.text import storable
from service.core.times import rfc3339
from service.relay import Relay
from service.store import devices as store
from service.store.outbox import Entry
from service.store.pool import Connection, Pool
from service.store.record import put_event

#: The routing key of the event.
DEVICE_STATE = "device.state"


async def change_state(
    connection: Connection,
    account_id: int | None,
    device_id: int,
    *,
    paused: bool | None = None,
    state: str | None = None,
    phone: str | None = None,
    reason: str | None = None,
) -> Sequence[Entry] | None:
    """Change what is given, in a transaction of the caller's; None when there is no such device.

    The event, of a change that callers can see, is to be offered after the commit.
    """
    change = await store.change_state(
        connection, account_id, device_id, paused=paused, state=state, phone=phone, reason=reason
    )
    if change is None:
        return None
    if change.before == change.state:
        return []
    body = orjson.dumps(
        {
            "account": change.account_id,
            "device_id": device_id,
            "state": change.state,
            "previous_state": change.before,
            "reason": reason,
            "at": rfc3339(change.at),
        }
    )
    entry = await put_event(
        connection, routing_key=DEVICE_STATE, event_type=DEVICE_STATE_TYPE, body=body
    )
    return [entry]


class DeviceLinks:
    """Notes how devices that are linked by a code stand with their phones."""

    def __init__(self, pool: Pool, relay: Relay) -> None:
        self._pool = pool
        self._relay = relay

    async def linked(self, device_id: int, phone: str) -> None:
        """The device is ready; what waited for it goes out."""
        async with self._pool.acquire() as connection, connection.transaction():
            entries = await change_state(connection, None, device_id, state="ready", phone=phone)
        self._relay.offer(entries or ())

    async def take(self, items: Sequence[LinkItem]) -> None:
        """What their drivers say, in the order of saying; an older word changes nothing."""
        for item in sorted(items, key=lambda each: (each.device_id, each.at)):
            async with self._pool.acquire() as connection, connection.transaction():
                if not await store.said_of_link(connection, item.device_id, item.at):
                    continue
                entries = await change_state(
                    connection,
                    None,
                    item.device_id,
                    state=item.state,
                    phone=item.phone,
                    reason=storable(item.reason, LONGEST_TEXT_CHARS) if item.reason else None,
                )
            self._relay.offer(entries or ())
