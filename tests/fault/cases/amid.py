"""Strikes while messages are in flight, and heals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.fault.case import load
from tests.fault.cases.kills import DISPATCHER, INGRESS, RECORDER
from tests.fault.world import Child, World


@dataclass(frozen=True, slots=True)
class Roles:
    """The processes of a usual case."""

    ingress: Child
    dispatcher: Child
    recorder: Child

    @property
    def all(self) -> tuple[Child, Child, Child]:
        return self.ingress, self.dispatcher, self.recorder


async def usual(world: World, *, proxied: bool = False, **settings: str) -> Roles:
    """One process of each."""
    return Roles(
        *await world.start(INGRESS, DISPATCHER, RECORDER, proxied=proxied, settings=settings)
    )


async def amid(
    world: World,
    what: str,
    strike: Callable[[], Awaitable[None]],
    *,
    calls: int = 40,
    bulk: int = 300,
    singles: int = 30,
    gap: float = 0.06,
) -> None:
    """Under load, when so many calls were made: strike; done when all requests are answered."""
    working = asyncio.create_task(load(world, bulk=bulk, singles=singles, gap=gap))
    try:
        await world.until_called(calls)
        world.struck(what)
        await strike()
        world.struck(f"end of {what}")
    finally:
        await working
