"""What only the bus inside the process promises; the rest is in `tests/contract/test_bus_*.py`."""

from __future__ import annotations

from service.bus.local import LocalBus
from service.bus.topology import topology
from tests.contract.inbox import EXPRESS, SHARDS, Inbox, command, publish_behind, settled


async def test_a_message_in_memory_is_only_safe_once_it_is_acked() -> None:
    bus = LocalBus(topology(SHARDS))
    inbox = Inbox()
    publishing = publish_behind(bus, command(b"in memory"))
    consumer = await bus.consume(EXPRESS, inbox, prefetch=1)
    await inbox.wait_for(1)
    await consumer.close()
    again = Inbox()
    await bus.consume(EXPRESS, again, prefetch=1)
    (delivery,) = await again.wait_for(1)
    assert not publishing.done()
    await delivery.ack()
    await settled(publishing)
    await bus.close()
