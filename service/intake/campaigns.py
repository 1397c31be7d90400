"""Makes messages of the recipients of campaigns, chunk by chunk, and ends campaigns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from schemas.commands import DISPATCH_TYPE
from schemas.templates import content_of
from service.admission import dispatch_commands
from service.audience import Text
from service.bus.topology import DISPATCH
from service.campaigns import tell
from service.core.content import ContentError, Filled
from service.core.lifecycle import Change, Status
from service.core.text import BODY_LIMIT_CHARS
from service.intake.rounds import CHUNK_SECONDS, Rounds
from service.record.sweeps import EXPIRED
from service.record.writing import write
from service.store import accept
from service.store import expansion as store
from service.store.accept import NewMessage, Shared
from service.store.campaigns import Recipient
from service.store.outbox import Entry
from service.store.pool import Connection, Pool

log = structlog.get_logger(__name__)

#: Messages of a cancelled campaign looked at in one chunk.
WALK_MESSAGES = 1000
#: Between looks for messages of a cancelled campaign that came back to wait.
AGAIN_SECONDS = 2.0
#: A campaign is left alone so long when a fault of ours stands in its way.
FAULT_SECONDS = 30.0
CLOSED_AT_ONCE = 20
#: Unfolded changes of one campaign, and campaigns folded at once.
LEAST_CHANGES, FOLDED_AT_ONCE = 50, 20
_DETAILS = {
    "opted_out": "the recipient opted out",
    "invalid_phone": "the phone is not a Malaysian number",
    "duplicate": "the campaign has this recipient already",
    "missing_variables": "a value is missing",
    "contact_deleted": "the contact was deleted",
    "invalid_body": "the text with its values cannot be sent",
}
_NOTHING = Filled("", None)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A recipient with what they get, or why they do not get it."""

    recipient: Recipient
    filled: Filled
    reason: str | None


class Campaigns(Rounds):
    """Works off campaigns; accounts take turns, and so do the campaigns of one.

    While `may_go` says no, as too much waits to be handed on, nothing is taken.
    """

    what = "campaign"

    def __init__(
        self, pool: Pool, offer: Callable[[Sequence[Entry]], None], may_go: Callable[[], bool]
    ) -> None:
        super().__init__(pool, offer)
        self._may_go = may_go

    async def _take(self, connection: Connection) -> Any:
        return await store.take(connection) if self._may_go() else None

    async def _work_off(self, connection: Connection, taken: Any) -> Sequence[Entry]:
        if taken["status"] == "cancelled":
            waiting, last_id = await store.walk(
                connection, taken["id"], after_id=taken["walked_id"], limit=WALK_MESSAGES
            )
            if last_id is not None:
                await store.walked(connection, taken["id"], last_id)
                return await _end(connection, waiting, Status.CANCELLED)
            if not taken["left_over"]:
                await store.rest(connection, taken["id"], AGAIN_SECONDS)
                return ()
        return await _expand(connection, taken)

    async def _give_up(self, connection: Connection, taken: Any) -> None:
        await store.rest(connection, taken["id"], FAULT_SECONDS)

    async def tidy_once(self) -> bool:
        """Close what is through and fold its counts; whether there may be more of it."""
        async with asyncio.timeout(CHUNK_SECONDS), self._pool.acquire() as connection:
            entries = []
            async with connection.transaction():
                closed = await store.close(connection, limit=CLOSED_AT_ONCE)
                now = datetime.now(UTC)
                for campaign_id, status in sorted(closed.items()):
                    log.info("campaign_closed", campaign_id=campaign_id, status=status)
                    if status == "completed":
                        entries.append(await tell(connection, campaign_id, now))
            self._offer(entries)
            folded = await store.fold(
                connection, least=LEAST_CHANGES, most_campaigns=FOLDED_AT_ONCE
            )
        return bool(closed) or folded


async def _expand(connection: Connection, taken: Any) -> Sequence[Entry]:
    """Make messages of the next recipients, and end those at once that are not to be sent."""
    chunk = await store.next_chunk(connection, taken["id"])
    drafts = _draft(taken, chunk.fit)
    drafts = await _still_sound(connection, taken, drafts)
    ids = await accept.insert_messages(
        connection,
        taken["account_id"],
        _shared(taken, "reserved"),
        [_message(taken, draft) for draft in drafts],
    )
    unfit = [_Draft(each, _NOTHING, each.reason) for each in chunk.unfit]
    unfit_ids = await accept.insert_messages(
        connection, taken["account_id"], _shared(taken, None), [_message(taken, d) for d in unfit]
    )
    skipped = [
        (id_, draft.reason)
        for id_, draft in zip([*ids, *unfit_ids], [*drafts, *unfit], strict=True)
        if draft.reason is not None
    ]
    left = [id_ for id_, draft in zip(ids, drafts, strict=True) if draft.reason is None]
    entries = await _skip(connection, skipped)
    over = _over(taken)
    if over is not None:
        entries += await _end(connection, left, over)
    else:
        commands = dispatch_commands(taken["shard"], _shared(taken, "reserved"), left)
        entries += await store.put_commands(
            connection, DISPATCH, DISPATCH_TYPE, commands, taken["traceparent"]
        )
    await store.advance(connection, taken["id"], fit=len(ids), unfit=len(unfit_ids))
    if taken["status"] == "scheduled":
        entries.append(await tell(connection, taken["id"], datetime.now(UTC)))
    return entries


def _draft(taken: Any, recipients: Iterable[Recipient]) -> list[_Draft]:
    text = Text(content_of(taken), taken["skip_missing"])
    drafts = []
    for recipient in recipients:
        filled, passed_over = text.fill(recipient)
        reason = "missing_variables" if passed_over else _fault(filled)
        drafts.append(_Draft(recipient, filled, reason))
    return drafts


def _fault(filled: Filled) -> str | None:
    try:
        filled.check()
    except ContentError:
        return "invalid_body"
    return None


async def _still_sound(
    connection: Connection, taken: Any, drafts: Sequence[_Draft]
) -> list[_Draft]:
    """The drafts after a look at what may have happened since the campaign was made."""
    phones = [draft.recipient.phone for draft in drafts if draft.reason is None]
    opted_out = await store.opted_out(connection, taken["account_id"], phones)
    contact_ids = [id_ for draft in drafts if (id_ := draft.recipient.contact_id) is not None]
    existing = {0, *await store.existing(connection, contact_ids)}
    found = []
    for draft in drafts:
        reason = draft.reason
        if reason is None and (draft.recipient.contact_id or 0) not in existing:
            reason = "contact_deleted"
        elif reason is None and draft.recipient.phone in opted_out:
            reason = "opted_out"
        found.append(replace(draft, reason=reason))
    sound = {draft.recipient.phone for draft in found if draft.reason is None}
    first = await store.put_recipients(connection, taken["id"], sound)
    return [
        replace(draft, reason="duplicate")
        if draft.reason is None and draft.recipient.phone not in first
        else draft
        for draft in found
    ]


def _over(taken: Any) -> Status | None:
    """What becomes of all that is left of a campaign, if its time is over."""
    if taken["status"] == "cancelled":
        return Status.CANCELLED
    return Status.EXPIRED if taken["expired"] else None


def _shared(taken: Any, credit: str | None) -> Shared:
    return Shared(
        device_id=taken["device_id"],
        template_id=taken["template_id"],
        status="queued",
        priority=taken["priority"],
        delivery=taken["delivery"],
        send_at=None,
        expires_at=taken["expires_at"],
        campaign_id=taken["id"],
        credit=credit,
        traceparent=taken["traceparent"],
    )


def _message(taken: Any, draft: _Draft) -> NewMessage:
    recipient, filled = draft.recipient, draft.filled
    options = filled.options if draft.reason is None else None
    return NewMessage(
        recipient.phone,
        filled.body[:BODY_LIMIT_CHARS],
        taken["reference"],
        recipient.contact_id,
        orjson.dumps(options).decode() if options else None,
    )


async def _skip(connection: Connection, skipped: Iterable[tuple[int, str]]) -> list[Entry]:
    now = datetime.now(UTC)
    changes = [
        Change(id_, 0, Status.SKIPPED, now, error_code=reason, error_detail=_DETAILS[reason])
        for id_, reason in sorted(skipped)
    ]
    written = await write(connection, changes, doubt_seconds=0.0)
    return list(written.entries)


async def _end(connection: Connection, ids: Iterable[int], status: Status) -> list[Entry]:
    """Bring waiting messages to their end, their credits back."""
    code, detail = ("expired", EXPIRED) if status is Status.EXPIRED else (None, None)
    now = datetime.now(UTC)
    changes = [
        Change(id_, 0, status, now, error_code=code, error_detail=detail) for id_ in sorted(ids)
    ]
    written = await write(connection, changes, doubt_seconds=0.0)
    return list(written.entries)
