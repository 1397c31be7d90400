"""Upstream commands: each accepted or refused once, and answered at least once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import TypeVar

import orjson
import structlog

from schemas.problems import Problem
from schemas.upstream import (
    ACCEPTED,
    ACCEPTED_TYPE,
    REJECTED,
    REJECTED_TYPE,
    BulkCommand,
    CampaignCommand,
    SendCommand,
    accepted,
)
from service import failpoints
from service.accept import Accept
from service.bus.bus import Bus, Consumer, Outgoing, PublishFailed, QueueMissing
from service.bus.delivery import Delivery
from service.bus.topology import command_queue
from service.campaigns import Campaigns
from service.intake.dead import DeadLetters
from service.intake.envelope import KINDS, Command, Kind, Poison, read
from service.once import REFUSED, Answer, Idempotency, Once, refusal
from service.store import upstreams
from service.store.outbox import EVENTS_EXCHANGE, Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Pool
from service.store.upstreams import Standing
from service.telemetry import metrics, tracing

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

#: An upstream may publish a command again for so long and gets the same answer.
KEEP_ANSWER_SECONDS = 7 * 24 * 3600.0
#: Pauses before a command is tried again that the service could not see to: the shortest, doubled
#: up to the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
#: A reply is a courtesy beside the event: nobody waits longer for it.
REPLY_SECONDS = 2.0
#: Between looks for users who have got queues of their own, or were removed.
LOOK_SECONDS = 2.0


class Commands:
    """Consumes the queues of commands: those of all, and those that each user has of its own, so
    that what one of them publishes keeps nobody else waiting.

    A command is acked once its effect and its answer are committed; while the service cannot see
    to it, it stays in hand and is tried again, however long that takes.
    """

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        once: Once,
        accept: Accept,
        campaigns: Campaigns,
        check: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._once = once
        self._accept = accept
        self._campaigns = campaigns
        self._check = check
        self._dead = DeadLetters(bus)
        #: by user, or None for all, and routing key
        self._consumers: dict[tuple[str | None, str], Consumer] = {}
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to consume."""
        await self._consume(None)
        self._looking = asyncio.create_task(self._look(), name="commands:users")

    async def close(self) -> None:
        """Give back what is not answered."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(consumer.close() for consumer in self._consumers.values()))

    async def _look(self) -> None:
        while True:
            try:
                users = await upstreams.users(self._pool)
                await self._leave({user for user, _ in self._consumers} - users - {None})
                for user in users:
                    # One from before there were such queues has none, nor has any on a local bus.
                    with suppress(QueueMissing):
                        await self._consume(user)
            except UNAVAILABLE as error:
                log.warning("users_not_looked_up", error=type(error).__name__)
            except Exception:
                log.exception("users_not_looked_up")
            await asyncio.sleep(LOOK_SECONDS)

    async def _consume(self, user: str | None) -> None:
        for kind in KINDS:
            key = user, kind.routing_key
            if key not in self._consumers:
                self._consumers[key] = await self._bus.consume(
                    command_queue(kind.routing_key, user),
                    partial(self._take, kind, user),
                    prefetch=kind.prefetch,
                )

    async def _leave(self, users: Set[str | None]) -> None:
        """Let go of the queues of users that were removed; what is in them stays."""
        gone = [key for key in self._consumers if key[0] in users]
        await asyncio.gather(*(self._consumers.pop(key).close() for key in gone))

    async def _take(self, kind: Kind, owner: str | None, delivery: Delivery) -> None:
        began = time.monotonic()
        failpoints.hit("command.received")
        tracing.begin(delivery.headers.get("traceparent"))
        try:
            command = read(delivery, kind, owner)
            standing = await self._see_to(partial(self._standing, command))
        except Poison as poison:
            await self._see_to(partial(self._dead.bury, delivery, poison))
            return
        answer = await self._see_to(partial(self._answer, command, standing))
        failpoints.hit("command.answered")
        await self._reply(command, answer)
        await delivery.ack()
        failpoints.hit("command.acked")
        result = "rejected" if answer.status >= REFUSED else "accepted"
        metrics.COMMANDS.labels(kind.routing_key, "replayed" if answer.replayed else result).inc()
        metrics.COMMAND_SECONDS.labels(kind.routing_key).observe(
            time.monotonic() - began, tracing.exemplar()
        )

    async def _standing(self, command: Command) -> Standing:
        """Raises Poison for a stranger: an account's listeners must not hear of commands that are
        none of theirs."""
        standing = await upstreams.standing(self._pool, command.user, command.account_id)
        if standing is Standing.STRANGER:
            problem = Problem(403, "forbidden", "The user may not name this account.")
            await self._reply(command, refusal(problem, command.id))
            raise Poison("forbidden", problem.detail)
        return standing

    async def _answer(self, command: Command, standing: Standing) -> Answer:
        self._check()
        key = Idempotency(command.id, command.fingerprint, KEEP_ANSWER_SECONDS, keep_refusals=True)
        tell = partial(_tell, command)
        request = command.request
        if standing is not Standing.VERIFIED or request is None:
            problem = command.fault or Problem(
                403, "email_unverified", "Verify the account owner's e-mail address first."
            )
            return await self._once.run(command.account_id, key, partial(_raise, problem), tell)
        match request:
            case SendCommand():
                return await self._accept.send(command.account_id, request, key, tell)
            case BulkCommand():
                return await self._accept.bulk(command.account_id, request, key, tell)
            case CampaignCommand():
                return await self._campaigns.create(command.account_id, request, key, tell)

    async def _see_to(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `work`, which is tried again for as long as this service is at fault."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await work()
            except Problem as problem:
                # The others are answers already; these two say nothing of the command.
                reason = error = problem.code
            except (*UNAVAILABLE, *CONFLICTS, PublishFailed) as fault:
                reason, error = _at_fault(fault), type(fault).__name__
            metrics.COMMANDS_DEFERRED.labels(reason).inc()
            log.warning("command_deferred", reason=reason, error=error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _reply(self, command: Command, answer: Answer) -> None:
        if command.reply_to is None:
            return
        routing_key, event_type, body = _event(command, answer)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self._bus.publish(
                    Outgoing(
                        exchange="",
                        routing_key=command.reply_to,
                        body=body,
                        type=event_type,
                        correlation_id=command.id,
                        headers={"account": str(command.account_id), **tracing.headers()},
                        mandatory=False,
                    )
                )
        except (PublishFailed, TimeoutError) as error:
            log.warning("reply_lost", kind=routing_key, error=type(error).__name__)


def _at_fault(error: Exception) -> str:
    if isinstance(error, PublishFailed):
        return "broker"
    return "conflict" if isinstance(error, CONFLICTS) else "database"


async def _raise(problem: Problem, _connection: Connection) -> Answer:
    raise problem


async def _tell(command: Command, connection: Connection, answer: Answer) -> Sequence[Entry]:
    routing_key, event_type, body = _event(command, answer)
    entry = await upstreams.put_answer(
        connection,
        exchange=EVENTS_EXCHANGE,
        kind=routing_key,
        event_type=event_type,
        body=body,
        command_id=command.id,
        traceparent=tracing.current(),
    )
    return [entry]


def _event(command: Command, answer: Answer) -> tuple[str, str, bytes]:
    """Routing key, type and body of the answer."""
    document = orjson.loads(answer.body)
    if answer.status >= REFUSED:
        body = {"account": command.account_id, "command": command.id, "problem": document}
        return REJECTED, REJECTED_TYPE, orjson.dumps(body)
    body = accepted(command.account_id, command.id, document)
    return ACCEPTED, ACCEPTED_TYPE, orjson.dumps(body)
