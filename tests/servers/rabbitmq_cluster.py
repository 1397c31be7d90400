"""Three RabbitMQ nodes in one cluster, each killed, cut off and brought back by itself."""

from __future__ import annotations

import asyncio

from tests.servers.node_folder import COOKIE, Cluster, free_ports
from tests.servers.rabbitmq import RabbitNode

NODES = 3
#: Erlang's nodes no longer know each other's cookie, so that no connection between them stands.
APART = "[begin erlang:set_cookie(N, apart), erlang:disconnect_node(N) end || N <- [{others}]]."
TOGETHER = "[begin erlang:set_cookie(N, '{cookie}'), net_adm:ping(N) end || N <- [{others}]]."


class RabbitCluster:
    """Quorum queues have a member on each node; what sees no majority pauses."""

    def __init__(self) -> None:
        [epmd_port] = free_ports(1)
        names = tuple(f"hantar{place}@localhost" for place in range(NODES))
        self.nodes = [RabbitNode(place, Cluster(names, epmd_port)) for place in range(NODES)]
        #: whom clients are led to first
        self.order = [0, 1, 2]

    async def start(self) -> None:
        """All three, one after the other, so that they find each other."""
        for node in self.nodes:
            node.launch()
            await asyncio.to_thread(node.await_ready)

    def close(self) -> None:
        """End everything and remove every file; the first node has what the others need."""
        for node in reversed(self.nodes):
            node.close()

    def port(self) -> int:
        """The AMQP port of the first in order that is open, as a load balancer would choose."""
        chosen = next((n for n in self.order if self.nodes[n].open), self.order[0])
        return self.nodes[chosen].amqp_port

    async def leaders(self, vhost: str) -> list[str]:
        """The name of the node that leads each queue of a vhost."""
        queues = await self.nodes[0].manage("GET", f"/queues/{vhost}")
        return [queue.get("leader", "") for queue in queues]

    async def restart(self, *places: int) -> None:
        """Bring back what was killed; done when all serve."""
        for place in places:
            self.nodes[place].launch()
        for place in places:
            await asyncio.to_thread(self.nodes[place].await_ready)

    async def part(self, place: int) -> None:
        """This node and the others no longer reach each other; clients reach them all."""
        await self.nodes[place].control("eval", APART.format(others=self._others(place)))

    async def join(self, place: int) -> None:
        """They reach each other again; done when the node serves."""
        others = self._others(place)
        await self.nodes[place].control("eval", TOGETHER.format(cookie=COOKIE, others=others))
        await asyncio.to_thread(self.nodes[place].await_ready)

    def _others(self, place: int) -> str:
        return ", ".join(f"'{node.name}'" for node in self.nodes if node is not self.nodes[place])
