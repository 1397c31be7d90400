"""A case: what strikes, and the run of it from an empty world to the checked end."""

from __future__ import annotations

import asyncio
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.store import sweeps
from service.store.pool import UNAVAILABLE
from tests.fault.checker import RANK, WAITING, Evidence, Report, asked, check, rank
from tests.fault.client import Reply, Tenant
from tests.fault.servers import Servers
from tests.fault.world import CREDITS, World, quiet

#: Until everything has ended; brokers take longer to come back.
SETTLE_SECONDS = 45.0
STILL_SECONDS = 0.5
CASE_SECONDS = 150.0
AFTERWARDS = 20

Run = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """`number` begins with the fault's number in the matrix."""

    number: str
    what: str
    run: Run
    #: faults that strike requests and not messages in flight need not have any
    about_requests: bool = False
    #: credits that a tenant was granted other than by default, set by the case itself
    settle_seconds: float = SETTLE_SECONDS
    #: on three RabbitMQ nodes
    cluster: bool = False


@dataclass
class Outcome:
    """A case that was run."""

    case: Case
    report: Report
    faults: list[str] = field(default_factory=list)
    in_flight: int = 0
    afterwards: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.report.violations


CASES: dict[str, Case] = {}


def add(case: Case) -> None:
    """Make a case known."""
    assert case.number not in CASES, case.number
    CASES[case.number] = case


def case(
    number: str,
    what: str,
    *,
    about_requests: bool = False,
    settle_seconds: float = SETTLE_SECONDS,
    cluster: bool = False,
) -> Callable[[Run], Run]:
    """Make a function a case."""

    def known(run: Run) -> Run:
        add(Case(number, what, run, about_requests, settle_seconds, cluster))
        return run

    return known


async def run_case(chosen: Case, servers: Servers, seed: int) -> Outcome:
    """Run it, let traffic pass afterwards, wait until all has ended, and check."""
    began = time.monotonic()
    own_seed = seed ^ zlib.crc32(chosen.number.encode())
    troubles: list[str] = []
    outcome = Outcome(chosen, Report())
    try:
        async with asyncio.timeout(CASE_SECONDS), World(servers, own_seed) as world:
            try:
                await chosen.run(world)
                struck_last = _struck(world)[-1][1] if _struck(world) else time.monotonic()
                later = await afterwards(world)
                await settle(world, chosen.settle_seconds)
            except Exception as error:  # noqa: BLE001 - told in the table, and the others run on
                troubles.append(f"case: {_told(error)}")
                struck_last, later = 0.0, []
            outcome = await _judge(chosen, world, struck_last, later)
    except Exception as error:  # noqa: BLE001
        troubles.append(f"world: {_told(error)}")
    outcome.report.violations += troubles
    outcome.seconds = time.monotonic() - began
    return outcome


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno})"


def _struck(world: World) -> list[tuple[str, float]]:
    fired = [(f"{line['act']} {line['point']}", line["at"]) for line in world.fired()]
    return sorted([*world.faults, *fired], key=lambda fault: fault[1])


async def load(world: World, *, bulk: int = 240, singles: int = 30, gap: float = 0.04) -> None:
    """A bulk of the first tenant, and single sends of both beside it; done when all is answered."""
    first, second = world.tenants[:2]
    tasks: list[asyncio.Task[Reply]] = []
    async with asyncio.TaskGroup() as group:
        if bulk:
            tasks.append(group.create_task(world.client.bulk(first, bulk)))
        for place in range(singles):
            tenant = second if place % 2 else first
            priority = world.seeded.choice(("high", "normal"))
            tasks.append(group.create_task(world.client.send(tenant, priority=priority)))
            await asyncio.sleep(gap)
    refused = [reply.status for reply in map(asyncio.Task.result, tasks) if reply.status != 202]
    assert not refused, f"requests ended with {refused}"


async def afterwards(world: World) -> list[int]:
    """Traffic after the fault: it has to be taken without another hand on anything."""
    replies: list[Reply] = []
    for tenant in world.tenants[:2]:
        replies.append(await world.client.bulk(tenant, AFTERWARDS))
        replies.append(await world.client.send(tenant, priority="high"))
    ids = [id_ for reply in replies for id_ in reply.ids]
    assert len(ids) == 2 * (AFTERWARDS + 1), f"not taken afterwards: {[r.status for r in replies]}"
    return ids


async def settle(world: World, within_seconds: float = SETTLE_SECONDS) -> None:
    """Until nothing moves any more; when something never ends, the checker says what."""

    async def still() -> bool:
        try:
            return await _ended(world)
        except UNAVAILABLE:
            return False

    await quiet(still, STILL_SECONDS, within_seconds)


async def _ended(world: World) -> bool:
    [facts] = await world.query(
        "SELECT (SELECT count(*) FROM messages WHERE status::text = ANY($1)) AS waiting,"
        " (SELECT count(*) FROM outbox) AS outbox, (SELECT sum(seq) FROM messages) AS seqs,"
        " (SELECT count(*) FROM doubts WHERE due_at < now() + interval '10 minutes') AS doubts,"
        " (SELECT count(*) FROM claims) AS claims",
        list(WAITING),
    )
    if facts["waiting"] or facts["outbox"] or facts["doubts"] or facts["claims"]:
        return False
    if (await world.provider.tell())["owed"]:
        return False
    seen = {(event["id"], event["seq"]) for event in world.events() if "seq" in event}
    if len(seen) < (facts["seqs"] or 0):
        return False
    rows = await world.query("SELECT id, status::text FROM messages")
    status = {row["id"]: row["status"] for row in rows}
    return all(
        RANK.index(call["backs"][-1]) <= rank(status[call["id"]])
        for call in world.calls()
        if call["accept"] and call["backs"] and call["id"] in status
    )


async def stuck(world: World) -> list[str]:
    """Of messages that never ended: where they stand, and what still points to them."""
    rows = await world.query(
        "SELECT m.id, m.status::text, m.attempt, m.attempts, m.device_id, d.state, m.claim,"
        " now() - m.created_at AS age, p.not_before - now() AS parked_for, p.reason,"
        " c.shard AS claim_shard, c.epoch AS claim_epoch, x.awaits::text, x.due_at - now() AS due"
        " FROM messages m JOIN devices d ON d.id = m.device_id"
        " LEFT JOIN parked p ON p.message_id = m.id LEFT JOIN claims c ON c.id = m.claim"
        " LEFT JOIN doubts x ON x.message_id = m.id"
        " WHERE m.status::text = ANY($1) ORDER BY m.id LIMIT 20",
        list(WAITING),
    )
    return [
        str({key: str(value) for key, value in row.items() if value is not None}) for row in rows
    ]


async def evidence(world: World) -> Evidence:
    """What the checker is given."""
    connection = await world.connect()
    try:
        rows = await connection.fetch(
            "SELECT id, account_id, device_id, reference, status::text, seq, credit::text, phone,"
            " attempt, attempts, resent, error_code FROM messages"
        )
        ledger = await connection.fetch(
            "SELECT account_id AS account, type::text, count, amount FROM ledger"
        )
        balances = await connection.fetch("SELECT id, balance FROM accounts")
        async with connection.transaction():
            drifting = len(await sweeps.audit(connection))
    finally:
        await connection.close()
    granted = {entry["account"]: entry["count"] for entry in ledger if entry["type"] == "grant"}
    return Evidence(
        client=world.requests(),
        calls=world.calls(),
        events=world.events(),
        rows=[dict(row) for row in rows],
        accounts=[
            {"account": row["id"], "granted": granted.get(row["id"], 0), "balance": row["balance"]}
            for row in balances
        ],
        ledger=[dict(row) for row in ledger],
        drifting=drifting,
        limits=world.limits,
        opted_out=world.opted_out,
        logs=world.logs(),
    )


async def _judge(chosen: Case, world: World, struck_last: float, later: list[int]) -> Outcome:
    found = await evidence(world)
    report = check(found)
    struck = _struck(world)
    in_flight = _in_flight(found, [at for _, at in struck])
    after = {call["id"] for call in found.calls if call["accept"] and call["at"] > struck_last}
    passed = len(after & set(later))
    if not struck:
        report.violations.append("does not count: no fault struck")
    elif not in_flight and not chosen.about_requests:
        report.violations.append("does not count: nothing was in flight when it struck")
    if not passed:
        report.violations.append("I9 nothing went through afterwards")
    return Outcome(chosen, report, [what for what, _ in struck], in_flight, passed)


def _in_flight(found: Evidence, times: list[float]) -> int:
    """The most messages that had been asked for when a fault struck and were called or told of
    only after it."""
    ends: dict[int, float] = {}
    for line in (*found.calls, *found.events):
        ends[line["id"]] = max(ends.get(line["id"], 0.0), line["t"])
    begins: dict[int, float] = {}
    first = {line["request"]: line["t"] for line in found.client if "request" in line}
    for tag, request in asked(found.client).items():
        for ids in request.accepted:
            begins |= {id_: min(first[tag], begins.get(id_, first[tag])) for id_ in ids}
    return max(
        (sum(begins[id_] < at < ends.get(id_, 0.0) for id_ in begins) for at in times), default=0
    )


__all__ = ["CREDITS", "Case", "Outcome", "Tenant", "add", "case", "load", "run_case", "settle"]
