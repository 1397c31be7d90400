"""Dispatch commands in hand: acked once nothing of them is left to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service import failpoints
from service.bus.delivery import Delivery

#: Acks are not answered: a broker that has not taken them by then has gone away.
ACKS_SECONDS = 1.0
#: The tasks that ack; held here as a task without a reference may be dropped by the loop.
_settling: set[asyncio.Task[None]] = set()


@dataclass(slots=True)
class Hand:
    """The packs of one queue that are not acked yet; the broker gives out only so many."""

    packs: int = 0


class Pack:
    """One delivery and how many of its messages are still open."""

    __slots__ = ("_delivery", "_hand", "open")

    def __init__(self, delivery: Delivery, size: int, hand: Hand) -> None:
        self._delivery = delivery
        self._hand = hand
        self.open = size
        hand.packs += 1

    def settle(self, count: int = 1) -> None:
        """So many messages are safely recorded, parked or found done; acks with the last one."""
        self.open -= count
        if self.open == 0:
            self._hand.packs -= 1
            task = asyncio.create_task(self._ack(), name="pack:ack")
            _settling.add(task)
            task.add_done_callback(_settling.discard)

    async def _ack(self) -> None:
        failpoints.hit("dispatch.before_ack")
        await self._delivery.ack()
        failpoints.hit("dispatch.acked")


async def acks_done() -> None:
    """Wait until every ack that was begun is out, for a bounded time."""
    if _settling:
        await asyncio.wait(set(_settling), timeout=ACKS_SECONDS)


#: A priority and a flow: what takes turns with its like, in an order of its own.
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in a lane, and the pack it came with; None when it was parked."""

    message_id: int
    priority: int
    #: the campaign, or 0 for the account's own messages
    flow: int
    pack: Pack | None

    @property
    def key(self) -> Key:
        """What it takes turns with."""
        return self.priority, self.flow

    def settle(self) -> None:
        """The message is safely recorded, parked or found done."""
        if self.pack is not None:
            self.pack.settle()
