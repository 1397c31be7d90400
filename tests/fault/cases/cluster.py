"""Three nodes of RabbitMQ: leaders die, a minority is cut off, the majority goes away."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from tests.fault.case import case
from tests.fault.cases.amid import amid, usual
from tests.fault.servers import ClusterServers
from tests.fault.world import World
from tests.servers.rabbitmq_cluster import RabbitCluster

LONG = 90.0


def _cluster(world: World, *order: int) -> RabbitCluster:
    """The nodes, of which clients are led to the first in order that serves."""
    assert isinstance(world.servers, ClusterServers)
    world.servers.cluster.order = list(order)
    return world.servers.cluster


async def _leads(world: World, cluster: RabbitCluster, place: int) -> bool:
    leaders = await cluster.leaders(quote(world.vhost, safe=""))
    return cluster.nodes[place].name in leaders


@case(
    "F32a", "leader and the clients' node killed, brought back", settle_seconds=LONG, cluster=True
)
async def leader_killed(world: World) -> None:
    cluster = _cluster(world, 1, 2, 0)
    await usual(world)
    assert await _leads(world, cluster, 1)

    async def strike() -> None:
        cluster.nodes[1].kill()
        await asyncio.sleep(3)
        await cluster.restart(1)

    await amid(world, "leader killed", strike)


@case(
    "F32b", "minority with leaders and clients cut off, joined", settle_seconds=LONG, cluster=True
)
async def minority_apart(world: World) -> None:
    cluster = _cluster(world, 2, 1, 0)
    await usual(world)
    assert await _leads(world, cluster, 2)

    async def strike() -> None:
        await cluster.part(2)
        await asyncio.sleep(5)
        assert not cluster.nodes[2].open, "the minority goes on"
        await cluster.join(2)

    await amid(world, "minority apart", strike)


@case("F32c", "majority killed: what is accepted waits for it", settle_seconds=LONG, cluster=True)
async def majority_lost(world: World) -> None:
    cluster = _cluster(world, 0, 1, 2)
    await usual(world)

    async def strike() -> None:
        cluster.nodes[1].kill()
        cluster.nodes[2].kill()
        await asyncio.sleep(4)
        assert not cluster.nodes[0].open, "a node goes on without a majority"
        await cluster.restart(1, 2)

    await amid(world, "majority lost", strike)
