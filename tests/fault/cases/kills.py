"""A process dies, stalls or loses its connection at a named point."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

from tests.fault.case import Case, add, case, load
from tests.fault.world import World
from tests.system import eventually

INGRESS, DISPATCHER, RECORDER = ROLES = ("ingress", "dispatcher", "recorder,intake")


@dataclass(frozen=True, slots=True)
class At:
    """One failpoint in one role, and the load under which it is hit."""

    number: str
    what: str
    role: str
    rule: str
    bulk: int = 240
    singles: int = 30
    #: how the provider behaves, if not as usual
    script: str = ""

    async def run(self, world: World) -> None:
        world.no_second_look()
        if self.script:
            await world.provider.tell(default=SCRIPTS[self.script])
        others = [role for role in ROLES if role != self.role]
        await asyncio.gather(world.start(*others), world.start(self.role, fail=self.rule))
        working = asyncio.create_task(load(world, bulk=self.bulk, singles=self.singles))
        try:
            await world.until_fired()
        finally:
            await working


SCRIPTS = {
    "refused later": {
        "answer": "sent",
        "accept": True,
        "callbacks": [["sent", 0.05], ["failed", 0.3], ["failed", 0.6]],
    },
    "busy": {"answer": "retry", "accept": False, "after": 0.3, "code": "busy"},
}
TABLE = [
    At("F01", "killed after auth, before anything is written", INGRESS, "accept.begun=kill@12"),
    At("F01b", "connection lost after auth", INGRESS, "accept.begun=raise@12"),
    At("F02a", "killed after insert and debit, before commit", INGRESS, "accept.reserved=kill@9"),
    At("F02b", "killed right before commit", INGRESS, "accept.before_commit=kill@9"),
    At("F02c", "connection lost right before commit", INGRESS, "accept.before_commit=raise@9"),
    At("F03a", "killed after commit, before publish", INGRESS, "accept.committed=kill@9"),
    At("F03b", "lost its way after commit: answers 503", INGRESS, "accept.committed=raise@9"),
    At("F04a", "killed after the confirm, entry still there", INGRESS, "relay.confirmed=kill@9"),
    At("F04b", "killed right before the publish", INGRESS, "relay.before_publish=kill@9"),
    At("F04c", "every third confirm is lost", INGRESS, "relay.confirmed=raise%.3/7"),
    At("F06a", "killed when the entry is gone", INGRESS, "relay.deleted=kill@5"),
    At("F07a", "killed in a bulk of 1000, rows written", INGRESS, "accept.inserted=kill", 1000, 0),
    At("F07b", "killed in a bulk of 1000, debited", INGRESS, "accept.reserved=kill", 1000, 0),
    At("F07c", "killed in a bulk of 1000, committed", INGRESS, "accept.committed=kill", 1000, 0),
    At("F40a", "killed after delivery, before the claim", DISPATCHER, "dispatch.received=kill@8"),
    At("F40b", "killed right before the claim", DISPATCHER, "claim.before=kill@12"),
    At("F40c", "killed after the claim, before the call", DISPATCHER, "claim.committed=kill@12"),
    At("F40d", "killed right before the call", DISPATCHER, "call.before=kill@25"),
    At("F40e", "killed with the answer in hand, unrecorded", DISPATCHER, "call.answered=kill@25"),
    At("F40f", "killed before the outcome's commit", DISPATCHER, "record.before_commit=kill@9"),
    At("F40g", "killed after it, before its event", DISPATCHER, "record.committed=kill@9"),
    At("F40h", "killed after the event, before the ack", DISPATCHER, "dispatch.before_ack=kill@9"),
    At("F40i", "killed after the ack", DISPATCHER, "dispatch.acked=kill@9"),
    At("F40j", "the answer of a claim is lost", DISPATCHER, "claim.committed=raise@9"),
    At("F40k", "a claim in five is lost", DISPATCHER, "claim.committed=raise%.2/3"),
    At("F40l", "every fifth outcome's commit is lost", DISPATCHER, "record.committed=raise%.2/5"),
    At("F42c", "stands still for three leases in a claim", DISPATCHER, "claim.committed=sleep:3@9"),
    At("F42d", "stands still for three leases at a call", DISPATCHER, "call.before=sleep:3@25"),
    At("F42e", "stands still for three leases at a beat", DISPATCHER, "lease.beaten=sleep:3@12"),
    At("F70a", "recorder killed with callbacks in hand", RECORDER, "callbacks.received=kill@30"),
    At("F70b", "recorder killed before the commit", RECORDER, "record.before_commit=kill@8"),
    At("F70c", "recorder killed after it, before the ack", RECORDER, "callbacks.recorded=kill@5"),
    At(
        "F70d",
        "recorder killed inside a refund",
        RECORDER,
        "record.before_commit=kill@15",
        script="refused later",
    ),
    At(
        "F70e", "a commit in three of the recorder is lost", RECORDER, "record.committed=raise%.3/2"
    ),
    At("F70f", "recorder killed before events go out", RECORDER, "events.before_publish=kill@5"),
    At("F70g", "recorder killed with events out, still there", RECORDER, "events.confirmed=kill@5"),
    At("F70h", "recorder killed when events are noted", RECORDER, "events.noted=kill@5"),
    At("F70i", "every third confirm of events is lost", RECORDER, "events.confirmed=raise%.3/7"),
]
for row in TABLE:
    add(Case(row.number, row.what, row.run))


@case("F40m", "killed once more as the heir finds what was left")
async def heir_dies_too(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    [child] = await world.start(DISPATCHER, fail="claim.committed=kill@12")
    child.left = True
    working = asyncio.create_task(load(world))
    await world.until_fired()
    child.process.kill()
    world.start_again(child, fail="orphans.found=kill")
    child.left = False
    await world.until_fired(2)
    await working


@case("F40n", "killed as it decides on a message in doubt")
async def decider_dies(world: World) -> None:
    await world.start(INGRESS)
    [recorder] = await world.start(RECORDER, fail="doubts.before_commit=kill@8")
    await world.start(DISPATCHER, fail="claim.committed=kill@12")
    recorder_load = asyncio.create_task(load(world))
    await world.until_fired(2)
    await recorder_load

    async def started_again() -> bool:
        return recorder.starts == 2

    await eventually(started_again)


@case("F41b", "killed as it parks its lanes on SIGTERM")
async def parker_dies(world: World) -> None:
    world.no_second_look()
    await world.start(INGRESS, RECORDER)
    [child] = await world.start(DISPATCHER, fail="park.committed=kill")
    working = asyncio.create_task(load(world, bulk=480))
    await world.until_called(40)
    os.kill(child.pid, signal.SIGTERM)
    await world.until_fired()
    await working


@case("F42f", "a second dispatcher is killed as it takes a shard")
async def taker_dies(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    first, *_ = await world.start(DISPATCHER)
    working = asyncio.create_task(load(world, bulk=480))
    await world.until_called(40)
    await world.start(DISPATCHER, fail="lease.taken=kill", ready=False)
    first.left = True
    first.process.kill()
    await world.until_fired()
    await working
