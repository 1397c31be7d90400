"""What has to be known of messages of linked devices when WhatsApp says something of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

TIMEOUT_SECONDS = 5.0
#: Messages of one device asked about in a row.
ASKED_IN_A_ROW = 20
FORGET_LIMIT = 10_000
#: A device that WhatsApp lets open no new chats is left with its old ones for so long.
LOCK = timedelta(hours=24)

_KEEP = """
INSERT INTO wwebjs_messages AS w (wa_id, device_id, message_id, attempt)
SELECT n.wa_id, $1, n.message_id, n.attempt
FROM unnest($2::text[], $3::bigint[], $4::int[]) AS n (wa_id, message_id, attempt)
ORDER BY n.wa_id
ON CONFLICT (wa_id) DO UPDATE SET attempt = EXCLUDED.attempt WHERE NOT w.taken
"""
_TAKEN = """
UPDATE wwebjs_messages SET taken = true, open = $2 WHERE wa_id = $1
"""
_KNOWN = """
SELECT wa_id, device_id, message_id, attempt FROM wwebjs_messages WHERE wa_id = ANY($1::text[])
"""
_CLOSE = """
UPDATE wwebjs_messages SET taken = true, open = false
WHERE wa_id = ANY($1::text[]) AND (open OR NOT taken)
"""
# Each device for itself, as one that answers nothing must not keep the others waiting.
_OPEN = """
SELECT w.wa_id, w.device_id, w.message_id, w.attempt, m.phone
FROM (SELECT DISTINCT device_id FROM wwebjs_messages WHERE open) AS d
CROSS JOIN LATERAL (
    SELECT o.wa_id, o.device_id, o.message_id, o.attempt FROM wwebjs_messages o
    WHERE o.open AND o.device_id = d.device_id ORDER BY o.created_at LIMIT $1
) AS w
JOIN messages m ON m.id = ANY(array_append('{}', w.message_id))
"""
# It can be sent anew: what comes of that is another attempt.
_ANEW = "UPDATE wwebjs_messages SET taken = false, open = false WHERE wa_id = $1"
_FORGET = """
DELETE FROM wwebjs_messages WHERE wa_id IN (
    SELECT wa_id FROM wwebjs_messages WHERE created_at < now() - interval '30 days'
    ORDER BY created_at LIMIT $1
)
"""
_LOCK = """
INSERT INTO wwebjs_locks (device_id, lock_until) VALUES ($1, now() + $2)
ON CONFLICT (device_id) DO UPDATE SET lock_until = EXCLUDED.lock_until
"""
_LOCKED = "SELECT FROM wwebjs_locks WHERE device_id = $1 AND lock_until > now()"
# Given back with its connection.
_READER = "SELECT pg_try_advisory_lock(hashtext('wwebjs events'))"
_READER_NO_MORE = "SELECT pg_advisory_unlock_all()"
_HAS_DEVICES = """
SELECT EXISTS (SELECT FROM devices WHERE driver = 'wwebjs' AND deleted_at IS NULL)
"""
_LINKED = """
SELECT id FROM devices
WHERE driver = 'wwebjs' AND deleted_at IS NULL
    AND state IN ('linking', 'ready', 'disconnected', 'incompatible', 'error')
"""
_DELETED = "SELECT id FROM devices WHERE id = ANY($1::bigint[]) AND deleted_at IS NOT NULL"
_HEARD = "SELECT phone FROM conversations WHERE device_id = $1 AND phone = ANY($2::text[])"


class Memory:
    """Tables in Postgres, which every dispatcher shares and a restart finds again."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[bool]:
        """Whether this process is the one that reads the bridge's events, for as long as it is in
        here; one that has lost its connection is not alone, and tells twice what another tells."""
        async with self._pool.acquire(timeout=TIMEOUT_SECONDS) as connection:
            try:
                yield await connection.fetchval(_READER, timeout=TIMEOUT_SECONDS)
            finally:
                # The session stays in the pool, and would go on to be the reader.
                await connection.execute(_READER_NO_MORE, timeout=TIMEOUT_SECONDS)

    async def keep(
        self, device_id: int, wa_ids: Sequence[str], message_ids: Sequence[int], attempts: list[int]
    ) -> None:
        """Know these messages, whatever becomes of their calls."""
        await self._pool.execute(
            _KEEP, device_id, wa_ids, message_ids, attempts, timeout=TIMEOUT_SECONDS
        )

    async def taken(self, wa_id: str, *, is_open: bool) -> None:
        """A call may have made a message of it; whether that is still to be asked."""
        await self._pool.execute(_TAKEN, wa_id, is_open, timeout=TIMEOUT_SECONDS)

    async def known(self, wa_ids: Sequence[str]) -> dict[str, Any]:
        """Those of these that are ours: device, message and attempt."""
        rows = await self._pool.fetch(_KNOWN, wa_ids, timeout=TIMEOUT_SECONDS)
        return {row["wa_id"]: row for row in rows}

    async def close(self, wa_ids: Sequence[str]) -> None:
        """WhatsApp has said what became of these."""
        await self._pool.execute(_CLOSE, wa_ids, timeout=TIMEOUT_SECONDS)

    async def open(self) -> list[Any]:
        """Messages of which it is still to be asked what became of them, each device's oldest."""
        rows: list[Any] = await self._pool.fetch(_OPEN, ASKED_IN_A_ROW, timeout=TIMEOUT_SECONDS)
        return rows

    async def anew(self, wa_id: str) -> None:
        """Nothing came of it."""
        await self._pool.execute(_ANEW, wa_id, timeout=TIMEOUT_SECONDS)

    async def forget(self) -> None:
        """Drop some of what is older than a month."""
        await self._pool.execute(_FORGET, FORGET_LIMIT, timeout=TIMEOUT_SECONDS)

    async def has_devices(self) -> bool:
        """Whether anybody uses this driver."""
        return bool(await self._pool.fetchval(_HAS_DEVICES, timeout=TIMEOUT_SECONDS))

    async def linked(self) -> set[int]:
        """The devices that have a phone, as far as is known here."""
        rows = await self._pool.fetch(_LINKED, timeout=TIMEOUT_SECONDS)
        return {row["id"] for row in rows}

    async def deleted(self, device_ids: Sequence[int]) -> list[int]:
        """Those of these that are deleted."""
        rows = await self._pool.fetch(_DELETED, device_ids, timeout=TIMEOUT_SECONDS)
        return [row["id"] for row in rows]

    async def lock(self, device_id: int) -> None:
        """Let a device open no new chats for a while."""
        await self._pool.execute(_LOCK, device_id, LOCK, timeout=TIMEOUT_SECONDS)

    async def strangers(self, device_id: int, phones: Sequence[str]) -> set[str]:
        """Those of these to whom the device may not write now."""
        if await self._pool.fetchrow(_LOCKED, device_id, timeout=TIMEOUT_SECONDS) is None:
            return set()
        rows = await self._pool.fetch(_HEARD, device_id, phones, timeout=TIMEOUT_SECONDS)
        return set(phones) - {row["phone"] for row in rows}
