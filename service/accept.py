"""The promise: what was answered 202 is committed, paid for and on its way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import orjson

from schemas import resources
from schemas.api import Bulk, Send
from schemas.problems import Problem, invalid, unavailable
from service.admission import Ready, Written, resolve, write
from service.drafts import Rejected, draft_bulk, draft_send, utc_now
from service.relay import Relay
from service.store import accept as store
from service.store import messages
from service.store.accept import StoredAnswer
from service.store.outbox import Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Pool
from service.telemetry import metrics

#: Accept transactions of one account at once; fewer than the pool has connections, as they all
#: wait for the same row.
ACCOUNT_LIMIT = 4
#: A whole accept, waiting for its turn included.
ACCEPT_SECONDS = 20.0
#: Tries when the database picks this transaction to end a deadlock.
CONFLICT_TRIES = 3
#: How long an answer given over HTTP is kept under its idempotency key.
KEEP_ANSWER_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, and the canonical body it stands for."""

    key: str
    fingerprint: bytes
    keep_seconds: float = KEEP_ANSWER_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the caller; the body is JSON."""

    status: int
    body: bytes
    replayed: bool = False
    #: messages that it accepted now
    accepted: int = 0


def fingerprint(operation: str, raw: bytes) -> bytes:
    """Of the operation and its canonical body: the order of keys and white space do not matter."""
    try:
        canonical = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        # A bulk may hold an item that is refused for what orjson does not read at all.
        canonical = raw
    return hashlib.sha256(operation.encode() + b"\0" + canonical).digest()


class Accept:
    """Takes messages in: one transaction each, in which the account row is locked last."""

    def __init__(self, pool: Pool, relay: Relay) -> None:
        self._pool = pool
        self._relay = relay
        self._turns: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def send(self, account_id: int, request: Send, key: Idempotency | None) -> Answer:
        """Queue one message; the answer holds it."""
        now = utc_now()

        # Drafts are made under the key: a repetition may come when its times have passed.
        async def work(connection: Connection) -> tuple[Answer, list[Entry]]:
            draft = draft_send(request, now)
            ready, rejected = await resolve(connection, account_id, [draft])
            if rejected:
                raise invalid(rejected[0].field, rejected[0].detail, code=rejected[0].code)
            written = await write(connection, account_id, ready)
            row = await messages.one(connection, account_id, written.ids[0])
            assert row is not None, "a row just written is there"
            body = orjson.dumps({"data": resources.message(dict(row))})
            return Answer(202, body, accepted=1), written.entries

        return await self._once(account_id, key, work)

    async def bulk(self, account_id: int, request: Bulk, key: Idempotency | None) -> Answer:
        """Queue every sound item; the answer says of each what became of it."""
        now = utc_now()

        async def work(connection: Connection) -> tuple[Answer, list[Entry]]:
            drafts, faulty = draft_bulk(request, now)
            ready, refused = await resolve(connection, account_id, drafts)
            rejected = sorted([*faulty, *refused], key=lambda item: item.index)
            for item in rejected:
                metrics.REJECTED.labels(item.code).inc()
            if not ready:
                raise _all_rejected(rejected)
            written = await write(connection, account_id, ready)
            answer = Answer(202, _bulk_body(ready, written, rejected), accepted=len(ready))
            return answer, written.entries

        return await self._once(account_id, key, work)

    async def _once(
        self,
        account_id: int,
        key: Idempotency | None,
        work: Callable[[Connection], Awaitable[tuple[Answer, list[Entry]]]],
    ) -> Answer:
        """Run `work` in a transaction, under its idempotency key if there is one."""
        turn = self._turns.setdefault(account_id, asyncio.Semaphore(ACCOUNT_LIMIT))
        try:
            async with asyncio.timeout(ACCEPT_SECONDS), turn:
                answer, entries = await self._try(account_id, key, work)
        except UNAVAILABLE as error:
            raise unavailable("The database is not available.") from error
        # Beside the answer, not before it: what is committed must not wait for the broker.
        self._relay.offer(entries)
        metrics.ACCEPTED.labels("http").inc(answer.accepted)
        return answer

    async def _try(
        self,
        account_id: int,
        key: Idempotency | None,
        work: Callable[[Connection], Awaitable[tuple[Answer, list[Entry]]]],
    ) -> tuple[Answer, list[Entry]]:
        for left in reversed(range(CONFLICT_TRIES)):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    if key is None:
                        return await work(connection)
                    return await _under_key(connection, account_id, key, work)
            except CONFLICTS:
                if not left:
                    raise unavailable("The database is too busy.") from None
        raise AssertionError


async def _under_key(
    connection: Connection,
    account_id: int,
    key: Idempotency,
    work: Callable[[Connection], Awaitable[tuple[Answer, list[Entry]]]],
) -> tuple[Answer, list[Entry]]:
    if not await store.lock_key(connection, account_id, key.key):
        raise Problem(
            409,
            "idempotency_in_progress",
            "A request with this Idempotency-Key is still running.",
            headers={"Retry-After": "1"},
        )
    known = await store.find_answer(connection, account_id, key.key)
    if known is not None:
        if known.fingerprint != key.fingerprint:
            detail = "This Idempotency-Key was used with another request."
            raise Problem(
                422,
                "idempotency_key_reused",
                detail,
                errors={"Idempotency-Key": [detail]},
            )
        return Answer(known.status, known.body, replayed=True), []
    answer, entries = await work(connection)
    stored = StoredAnswer(key.fingerprint, answer.status, answer.body)
    await store.store_answer(connection, account_id, key.key, stored, keep_seconds=key.keep_seconds)
    return answer, entries


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
