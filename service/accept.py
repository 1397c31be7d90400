"""The promise: what was answered 202 is committed, paid for and on its way."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from schemas import resources
from schemas.api import Bulk, Send
from schemas.problems import Problem, invalid
from service.admission import Ready, Written, resolve, write
from service.drafts import Rejected, draft_bulk, draft_send, utc_now
from service.once import Answer, Idempotency, Once, Tell, Work
from service.store import messages
from service.store.pool import Connection
from service.telemetry import metrics


class Accept:
    """Takes messages in: one transaction each, in which the account row is locked last."""

    def __init__(self, once: Once, *, door: str) -> None:
        self._once = once
        self._door = door

    async def send(
        self, account_id: int, request: Send, key: Idempotency | None, tell: Tell | None = None
    ) -> Answer:
        """Queue one message; the answer holds it."""
        now = utc_now()

        # Drafts are made under the key: a repetition may come when its times have passed.
        async def work(connection: Connection) -> Answer:
            draft = draft_send(request, now)
            ready, rejected = await resolve(connection, account_id, [draft])
            if rejected:
                raise invalid(rejected[0].field, rejected[0].detail, code=rejected[0].code)
            written = await write(connection, account_id, ready)
            row = await messages.one(connection, account_id, written.ids[0])
            assert row is not None, "a row just written is there"
            body = msgspec.json.encode({"data": resources.message(row)})
            return Answer(202, body, written.entries, accepted=1)

        return await self._count(account_id, key, work, tell)

    async def bulk(
        self, account_id: int, request: Bulk, key: Idempotency | None, tell: Tell | None = None
    ) -> Answer:
        """Queue every sound item; the answer says of each what became of it."""
        now = utc_now()

        async def work(connection: Connection) -> Answer:
            drafts, faulty = draft_bulk(request, now)
            ready, refused = await resolve(connection, account_id, drafts)
            rejected = sorted([*faulty, *refused], key=lambda item: item.index)
            for item in rejected:
                metrics.REJECTED.labels(metrics.REJECTIONS(item.code)).inc()
            if not ready:
                raise _all_rejected(rejected)
            written = await write(connection, account_id, ready)
            body = _bulk_body(ready, written, rejected)
            return Answer(202, body, written.entries, accepted=len(ready))

        return await self._count(account_id, key, work, tell)

    async def _count(
        self, account_id: int, key: Idempotency | None, work: Work, tell: Tell | None
    ) -> Answer:
        answer = await self._once.run(account_id, key, work, tell)
        metrics.ACCEPTED.labels(self._door).inc(answer.accepted)
        return answer


def _bulk_body(ready: Sequence[Ready], written: Written, rejected: Sequence[Rejected]) -> bytes:
    return orjson.dumps(
        {
            "queued": [
                {
                    "index": item.draft.index,
                    "id": message_id,
                    "phone": item.draft.phone,
                    "status": status,
                }
                for item, message_id, status in zip(
                    ready, written.ids, written.statuses, strict=True
                )
            ],
            "rejected": [_rejected(item) for item in rejected],
            "credits": {"charged": len(ready), "balance": written.balance},
        }
    )


def _rejected(item: Rejected) -> dict[str, object]:
    return {"index": item.index, "phone": item.phone, "code": item.code, "detail": item.detail}


def _all_rejected(rejected: Sequence[Rejected]) -> Problem:
    return Problem(
        422,
        "validation_failed",
        "No message of the bulk was accepted.",
        errors={f"messages.{item.index}.{item.field}": [item.detail] for item in rejected},
        extra={"queued": [], "rejected": [_rejected(item) for item in rejected]},
    )
