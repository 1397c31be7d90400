"""The intake dies, or loses its way, at each stage of an upstream service's command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.fault.case import Case, add
from tests.fault.cases.kills import DISPATCHER, INGRESS
from tests.fault.upstream import USER, Upstream
from tests.fault.world import World

RECORDER, INTAKE = "recorder", "intake"
SENDS, BULKS, BULK = 30, 3, 120


@asynccontextmanager
async def upstream_of(world: World) -> AsyncIterator[Upstream]:
    """A service that may name every tenant."""
    for tenant in world.tenants:
        await world.query(
            "INSERT INTO upstreams (user_name, account_id) VALUES ($1, $2) RETURNING user_name",
            USER,
            tenant.account,
        )
    service = Upstream(world.client)
    await service.open(world.servers.amqp_url(world.vhost))
    try:
        yield service
    finally:
        await service.close()


async def load(world: World, service: Upstream) -> None:
    """Bulks and single sends of both tenants; done when each is accepted."""
    first, second = world.tenants[:2]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.send(first, BULK)) for _ in range(BULKS)]
        for place in range(SENDS):
            tasks.append(group.create_task(service.send(second if place % 2 else first, 1)))
            await asyncio.sleep(0.04)
    refused = [task.result().status for task in tasks if task.result().status != 202]
    assert not refused, f"commands ended with {refused}"


@dataclass(frozen=True, slots=True)
class At:
    """One failpoint of the intake."""

    number: str
    what: str
    rule: str

    async def run(self, world: World) -> None:
        world.no_second_look()
        await asyncio.gather(
            world.start(INGRESS, DISPATCHER, RECORDER), world.start(INTAKE, fail=self.rule)
        )
        async with upstream_of(world) as service:
            working = asyncio.create_task(load(world, service))
            try:
                await world.until_fired()
            finally:
                await working


for row in (
    At("F88a", "intake killed with a command in hand", "command.received=kill@7"),
    At("F88b", "intake killed after insert and debit", "accept.reserved=kill@5"),
    At("F88c", "intake killed right before the commit", "accept.before_commit=kill@7"),
    At("F88d", "intake killed after it, its answer untold", "accept.committed=kill@7"),
    At(
        "F88e",
        "intake killed before a dispatch command is published",
        "relay.before_publish=kill@9",
    ),
    At("F88f", "intake killed after that, the entry still there", "relay.confirmed=kill@9"),
    At(
        "F88g", "intake killed with the command answered, before the ack", "command.answered=kill@7"
    ),
    At("F88h", "intake killed after the ack", "command.acked=kill@7"),
    At("F88i", "every fifth commit of the intake is lost", "accept.committed=raise%.2/3"),
    At("F88j", "every fifth ack of the intake is lost", "command.answered=raise%.2/3"),
):
    add(Case(row.number, row.what, row.run))
