"""A process dies, stalls or loses its connection at a named point."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.fault.case import Case, add, load
from tests.fault.world import World


@dataclass(frozen=True, slots=True)
class At:
    """One failpoint in one role, and the load under which it is hit."""

    number: str
    what: str
    role: str
    rule: str
    bulk: int = 240
    singles: int = 30

    async def run(self, world: World) -> None:
        others = [
            role for role in ("ingress", "dispatcher", "recorder,intake") if role != self.role
        ]
        await asyncio.gather(world.start(*others), world.start(self.role, fail=self.rule))
        working = asyncio.create_task(load(world, bulk=self.bulk, singles=self.singles))
        try:
            await world.until_fired()
        finally:
            await working


_INGRESS, _DISPATCHER, _RECORDER = "ingress", "dispatcher", "recorder,intake"
_ONLY_BULK = {"bulk": 240, "singles": 0}
TABLE = [
    At("F01", "killed after auth, before anything is written", _INGRESS, "accept.begun=kill@12"),
    At("F02a", "killed after insert and debit, before commit", _INGRESS, "accept.reserved=kill@9"),
    At("F02b", "killed right before commit", _INGRESS, "accept.before_commit=kill@9"),
    At("F03", "killed after commit, before publish", _INGRESS, "accept.committed=kill@9"),
    At(
        "F04", "killed after the confirm, before the entry goes", _INGRESS, "relay.confirmed=kill@9"
    ),
    At("F40a", "killed after delivery, before the claim", _DISPATCHER, "dispatch.received=kill@8"),
    At("F40b", "killed right before the claim", _DISPATCHER, "claim.before=kill@12"),
    At("F40c", "killed after the claim, before the call", _DISPATCHER, "claim.committed=kill@12"),
    At("F40d", "killed right before the call", _DISPATCHER, "call.before=kill@25"),
    At("F40e", "killed with the answer in hand, unrecorded", _DISPATCHER, "call.answered=kill@25"),
]
for row in TABLE:
    add(Case(row.number, row.what, row.run))
