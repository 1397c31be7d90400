"""The provider refuses, hangs, lies or is out of reach; its callers die or stand still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import pairwise
from typing import Any

from service.bus.topology import DELIVERY_LIMIT
from tests.fault.case import Case, add, case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.cases.kills import DISPATCHER, INGRESS, RECORDER
from tests.fault.proxy import Proxy
from tests.fault.world import LEASE_SECONDS, World
from tests.system import eventually

LONG = 60.0
#: Within this a joining dispatcher has its share, and meanwhile the devices go on.
JOIN_SECONDS = 15.0
STALL_SECONDS = 3.0
BACK: list[list[Any]] = [["sent", 0.05], ["delivered", 0.2]]


def _answering(number: str, what: str, seconds: float = 3.0, **script: Any) -> None:
    """For a while the provider answers each call so."""

    async def run(world: World) -> None:
        await usual(world)

        async def strike() -> None:
            await world.provider.tell(default=script)
            await asyncio.sleep(seconds)
            await world.provider.tell(default=None)

        await amid(world, what, strike)

    add(Case(number, what, run, settle_seconds=LONG))


_answering(
    "F45a", "answers 503, not accepted", answer="retry", accept=False, code="busy", after=0.3
)
_answering("F45b", "answers 500 after accepting", answer="500", accept=True, callbacks=BACK)
_answering("F46a", "throttles the device", answer="retry", accept=False, scope="device", after=0.5)
_answering(
    "F46b", "throttles, wait below zero", answer="retry", accept=False, scope="device", after=-5
)
_answering("F47", "refuses for good", answer="failed", accept=False, code="131026")
_answering(
    "F49a", "accepts and never answers, tells later", answer="none", accept=True, callbacks=BACK
)
_answering(
    "F49b",
    "accepts, never answers, tells after the time-out",
    answer="none",
    accept=True,
    callbacks=[["sent", 3.4], ["delivered", 3.6]],
)
_answering("F49c", "accepts, and no word ever comes", seconds=0.5, answer="none", accept=True)
_answering(
    "F50",
    "accepts, then an error, tells late",
    answer="err",
    accept=True,
    callbacks=[["sent", 2.0]],
)
_answering("F49d", "neither accepts nor answers", seconds=0.5, answer="none", accept=False)


def _wire(number: str, what: str, strike_proxy: Any, seconds: float = 3.0) -> None:
    """The connection to the provider is spoilt for a while."""

    async def run(world: World) -> None:
        roles = await usual(world, proxied=True)
        proxy = roles.dispatcher.provider
        assert proxy is not None

        async def strike() -> None:
            strike_proxy(proxy)
            await asyncio.sleep(seconds)
            proxy.reset()
            proxy.heal()

        await amid(world, what, strike)

    add(Case(number, what, run, settle_seconds=LONG))


def _half(proxy: Proxy) -> None:
    proxy.there.reset_after_bytes = 1000


def _half_back(proxy: Proxy) -> None:
    proxy.back.reset_after_bytes = 150


def _slow(proxy: Proxy) -> None:
    proxy.there.latency_seconds = 0.3


_wire("F44", "the provider refuses connections", lambda proxy: proxy.refuse())
_wire("F40o", "reset with half a call out", _half)
_wire("F40p", "reset with half an answer in", _half_back)
_wire("F49e", "the provider falls silent", lambda proxy: proxy.silence())
_wire("F49f", "its answers and callbacks are lost", lambda proxy: proxy.silence(proxy.back))
_wire("F51b", "calls arrive late", _slow)


@case("F40q", "killed when WhatsApp has it and the answer is on its way")
async def killed_unread(world: World) -> None:
    await world.provider.tell(
        default={"answer": "sent", "accept": True, "delay": 1.0, "callbacks": BACK}
    )
    roles = await usual(world)

    async def strike() -> None:
        world.kill(roles.dispatcher)

    await amid(world, "killed, answers unread", strike, calls=30)


@case("F41", "crashes in a row until what is delivered next is dead; the others are delivered")
async def crash_loop(world: World) -> None:
    world.no_second_look()
    await world.start(INGRESS, RECORDER)
    rule = "dispatch.received=kill"
    [child] = await world.start(DISPATCHER, fail=rule)
    child.left = True
    # All in one queue: with others beside it, it would be delivered too seldom by chance.
    tenant = world.tenants[0]
    device = next(iter(tenant.devices))
    for _ in range(3):
        await world.client.send(tenant, priority="high", device=device)
    for count in range(1, DELIVERY_LIMIT + 2):
        await world.until_fired(count)
        await child.process.ends()
        world.start_again(child, fail=rule if count <= DELIVERY_LIMIT else "")
    child.left = False
    await load(world)


@case("F42a", "two dispatchers, the owner stands still for 4 leases and wakes")
async def frozen_owner(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    first, _second = await world.start(DISPATCHER, DISPATCHER)

    async def strike() -> None:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(4 * LEASE_SECONDS)
        finally:
            os.kill(first.pid, signal.SIGCONT)

    await amid(world, "owner stands still", strike)
    assert first.starts == 1


@case("F42j", "the owner stands still, the heir has its commands, the owner wakes")
async def owner_wakes(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    first, _second = await world.start(DISPATCHER, DISPATCHER, proxied=True)
    proxy = first.amqp
    assert proxy is not None

    async def strike() -> None:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            proxy.refuse()  # the broker gives them to the other one
            calls = len(world.calls())
            await asyncio.sleep(3 * LEASE_SECONDS)
            await world.until_called(calls + 120)
        finally:
            os.kill(first.pid, signal.SIGCONT)
            await asyncio.sleep(0.5)
            proxy.heal()

    await amid(world, "owner stands still, heir sends", strike, bulk=900)
    assert first.starts == 1


@case("F42h", "two dispatchers, one killed: the other takes over")
async def heir(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    first, _second = await world.start(DISPATCHER, DISPATCHER)

    async def strike() -> None:
        first.left = True
        first.process.kill()
        await asyncio.sleep(4 * LEASE_SECONDS)

    await amid(world, "one of two killed", strike)


@case("F42k", "a second dispatcher joins amid load: it gets its share, and nothing stalls")
async def joins(world: World) -> None:
    await usual(world)
    owners = "SELECT count(DISTINCT owner) AS owners FROM shard_leases"

    async def strike() -> None:
        began = time.monotonic()
        await world.start(DISPATCHER)

        async def shared() -> bool:
            [row] = await world.query(owners)
            return bool(row["owners"] == 2)

        await eventually(shared, within_seconds=JOIN_SECONDS)
        before = [call["at"] for call in world.calls() if call["at"] > began]
        gaps = [later - sooner for sooner, later in pairwise(sorted(before))]
        assert max(gaps, default=0.0) < STALL_SECONDS, f"no call for {max(gaps):.1f} s"

    await amid(world, "a dispatcher joins", strike, bulk=900)


@case("F42i", "two dispatchers, one apart from PostgreSQL only, then back")
async def owner_apart(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    first, _second = await world.start(DISPATCHER, DISPATCHER, proxied=True)
    proxy = first.postgres
    assert proxy is not None

    async def strike() -> None:
        proxy.silence()
        await asyncio.sleep(4 * LEASE_SECONDS)
        proxy.heal()

    await amid(world, "owner apart from PostgreSQL", strike)


@case("F51", "a device takes five seconds for each call: the others go on as usual")
async def slow_device(world: World) -> None:
    slow, other = list(world.tenants[0].devices)
    await world.provider.tell(
        scripts={
            f"device {slow}": [
                {"answer": "sent", "accept": True, "delay": 2.5, "callbacks": [["delivered", 2.6]]}
            ]
        }
    )
    await usual(world)
    world.struck("a slow device")
    working = asyncio.create_task(load(world))
    await world.until_called(60)

    async def others_done() -> bool:
        calls = world.calls()
        return len([call for call in calls if call["device"] == other]) >= 80

    await eventually(others_done, within_seconds=15)
    world.struck("a slow device still")
    await working
