"""What persons write to devices: kept, told of, and heeded where it is an opt-out."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec
import structlog

from schemas.commands import INBOUND_TYPE, OPTED_OUT_TYPE, InboundItem
from schemas.upstream import INBOUND, OPTED_OUT, ContactOptedOut, MessageInbound
from service import failpoints
from service.core.lifecycle import LONGEST_TEXT_CHARS
from service.core.text import storable
from service.core.times import rfc3339
from service.core.words import OptOutWords, Words
from service.relay import Relay
from service.store import inbound as store
from service.store.inbound import Kept
from service.store.outbox import Entry
from service.store.pool import Connection, Pool
from service.store.record import put_event
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: The longest text that a person can write at once.
LONGEST_CHARS = 65_536


class Inbound:
    """Takes what persons wrote, each message once, in one transaction with its events.

    With `keeps_text` off a text is looked at for an opt-out and then forgotten: no row and no event
    has it.
    """

    def __init__(
        self, pool: Pool, relay: Relay, words: Words, opt_out: OptOutWords, *, keeps_text: bool
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._words = words
        self._opt_out = opt_out
        self._keeps_text = keeps_text
        if keeps_text and words.close("") is None:
            log.warning("inbound_texts_not_kept", reason="there is no HANTAR_SECRET_KEY_FILE")

    async def take(self, items: Sequence[InboundItem]) -> None:
        """Committed when it returns; what came before changes nothing."""
        by_id = {(each.device_id, each.provider_id): each for each in map(_storable, items)}
        kept = [self._kept(each) for each in by_id.values()]
        entries: list[Entry] = []
        async with self._pool.acquire() as connection, connection.transaction():
            new = await store.keep(connection, kept)
            # In one order, as two of these may meet in the same contacts.
            for row in sorted(new, key=lambda row: (row["account_id"], row["phone"], row["id"])):
                item = by_id[row["device_id"], row["provider_id"]]
                entries += await self._tell(connection, row, item)
            await store.hear(connection, kept)
            failpoints.hit("inbound.before_commit")
        self._relay.offer(entries)
        metrics.INBOUND.labels("new").inc(len(new))
        metrics.INBOUND.labels("repeated").inc(len(items) - len(new))

    def _kept(self, item: InboundItem) -> Kept:
        sealed = self._words.close(item.text) if self._keeps_text else None
        return Kept(item.device_id, item.phone, item.kind, sealed, item.provider_id, item.at)

    async def _tell(
        self, connection: Connection, row: asyncpg.Record, item: InboundItem
    ) -> list[Entry]:
        account_id, contact_id, at = row["account_id"], row["contact_id"], rfc3339(item.at)
        entries = []
        opts_out = self._opt_out.match(item.text)
        changed = None
        if opts_out:
            changed = await store.opt_out(connection, account_id, item.phone, item.at)
        if changed is not None:
            contact_id = changed
            opted_out = ContactOptedOut(account_id, contact_id, item.phone, at)
            entries.append(
                await _put(connection, OPTED_OUT, OPTED_OUT_TYPE, msgspec.json.encode(opted_out))
            )
        event = MessageInbound(
            account=account_id,
            id=row["id"],
            device_id=item.device_id,
            contact_id=contact_id,
            phone=item.phone,
            kind=item.kind,
            text=item.text if self._keeps_text else None,
            opts_out=opts_out,
            provider_id=item.provider_id,
            at=at,
        )
        body = self._words.close_event(msgspec.json.encode(event))
        entries.append(await _put(connection, INBOUND, INBOUND_TYPE, body))
        return entries


async def _put(connection: Connection, name: str, event_type: str, body: bytes) -> Entry:
    return await put_event(connection, routing_key=name, event_type=event_type, body=body)


def _storable(item: InboundItem) -> InboundItem:
    return InboundItem(
        item.device_id,
        item.phone,
        storable(item.text, LONGEST_CHARS),
        storable(item.provider_id, LONGEST_TEXT_CHARS),
        item.at,
        storable(item.kind, LONGEST_TEXT_CHARS),
    )
