"""One transaction for each request that changes something, one effect for each idempotency key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import orjson

from schemas.problems import Problem, unavailable
from service import failpoints
from service.relay import Relay
from service.store import accept as store
from service.store.accept import StoredAnswer
from service.store.outbox import Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Pool

#: Transactions of one account at once; fewer than the pool has connections, as most wait for the
#: same row.
ACCOUNT_LIMIT = 4
#: A whole transaction, waiting for its turn included.
ONCE_SECONDS = 20.0
#: Tries when the database picks this transaction to end a deadlock.
CONFLICT_TRIES = 3
#: How long an answer given over HTTP is kept under its idempotency key.
KEEP_ANSWER_SECONDS = 24 * 3600.0
#: The first status of a refusal, and the first that says nothing of the request.
REFUSED, UNAVAILABLE_STATUS = 400, 500


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, and the canonical body it stands for."""

    key: str
    fingerprint: bytes
    keep_seconds: float = KEEP_ANSWER_SECONDS
    #: A command that came over the queue has one answer for good, a refusal too; who calls over
    #: HTTP may try again under the same key.
    keep_refusals: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the caller; the body is JSON."""

    status: int
    body: bytes
    #: what the transaction put into the outbox
    entries: Sequence[Entry] = field(default=())
    #: messages that it accepted now
    accepted: int = 0
    replayed: bool = False


Work = Callable[[Connection], Awaitable[Answer]]
#: Tells others of the answer, in the same transaction, by entries in the outbox.
Tell = Callable[[Connection, Answer], Awaitable[Sequence[Entry]]]


def fingerprint(operation: str, raw: bytes) -> bytes:
    """Of the operation and its canonical body: the order of keys and white space do not matter."""
    try:
        canonical = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # What is refused, and so may be an item of a bulk, can be what orjson does not read at all,
        # or is nested too deeply to be written again.
        canonical = raw
    return hashlib.sha256(operation.encode() + b"\0" + canonical).digest()


class Once:
    """Runs the work of a request in a transaction, together with its idempotency key."""

    def __init__(self, pool: Pool, relay: Relay) -> None:
        self._pool = pool
        self._relay = relay
        self._turns: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def run(
        self, account_id: int, key: Idempotency | None, work: Work, tell: Tell | None = None
    ) -> Answer:
        """The answer of `work`, or the one stored under the key; raises a Problem.

        What `work` raises undoes all it did, and is stored under no key, unless the key keeps
        refusals: then it is an answer like others. `tell` is given each answer, stored or new.
        """
        turn = self._turns.setdefault(account_id, asyncio.Semaphore(ACCOUNT_LIMIT))
        try:
            async with asyncio.timeout(ONCE_SECONDS), turn:
                answer = await self._try(account_id, key, work, tell)
        except UNAVAILABLE as error:
            raise unavailable("The database is not available.") from error
        failpoints.hit("accept.committed")
        # Beside the answer, not before it: what is committed must not wait for the broker.
        self._relay.offer(answer.entries)
        return answer

    async def _try(
        self, account_id: int, key: Idempotency | None, work: Work, tell: Tell | None
    ) -> Answer:
        for left in reversed(range(CONFLICT_TRIES)):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    failpoints.hit("accept.begun")
                    if key is None:
                        answer = await work(connection)
                    else:
                        answer = await _under_key(connection, account_id, key, work)
                    if tell is not None:
                        told = await tell(connection, answer)
                        answer = replace(answer, entries=[*answer.entries, *told])
                    failpoints.hit("accept.before_commit")
            except CONFLICTS:
                if not left:
                    raise unavailable("The database is too busy.") from None
            else:
                return answer
        raise AssertionError


async def _under_key(
    connection: Connection, account_id: int, key: Idempotency, work: Work
) -> Answer:
    if not await store.lock_key(connection, account_id, key.key):
        raise Problem(
            409,
            "idempotency_in_progress",
            "A request with this Idempotency-Key is still running.",
            headers={"Retry-After": "1"},
        )
    known = await store.find_answer(connection, account_id, key.key)
    if known is not None and (known.status < REFUSED or key.keep_refusals):
        if known.fingerprint != key.fingerprint:
            detail = "This Idempotency-Key was used with another request."
            reused = Problem(
                422,
                "idempotency_key_reused",
                detail,
                errors={"Idempotency-Key": [detail]},
            )
            if key.keep_refusals:
                return refusal(reused, key.key)
            raise reused
        return Answer(known.status, known.body, replayed=True)
    failpoints.hit("accept.keyed")
    answer = await (_kept(connection, key, work) if key.keep_refusals else work(connection))
    stored = StoredAnswer(key.fingerprint, answer.status, answer.body)
    await store.store_answer(connection, account_id, key.key, stored, keep_seconds=key.keep_seconds)
    return answer


async def _kept(connection: Connection, key: Idempotency, work: Work) -> Answer:
    """The answer of `work`; when it refuses, what it did is undone alone."""
    try:
        async with connection.transaction():
            return await work(connection)
    except Problem as problem:
        if problem.status >= UNAVAILABLE_STATUS:
            raise
        return refusal(problem, key.key)


def refusal(problem: Problem, request_id: str) -> Answer:
    """A problem as an answer."""
    return Answer(problem.status, orjson.dumps(problem.document(request_id)))
