"""`make fault-soak`: ten minutes of load under a seeded mix of faults, then peace, then the check.

Usage: python -m tests.fault.soak [--seed N] [--seconds 600] [--rate 100]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from service.store.pool import UNAVAILABLE
from tests.fault.case import evidence, settle, stuck
from tests.fault.checker import check
from tests.fault.client import Reply
from tests.fault.proxy import Proxy
from tests.fault.servers import Servers
from tests.fault.world import Child, World

#: At least; a run that stays below proves too little.
FAULTS = 100
MESSAGES = 50_000
BULK = 100
SETTLE_SECONDS = 240.0
#: Between two faults of one kind; the kinds overlap.
PAUSES = (2.0, 6.0)
OPEN_REQUESTS = 40
ROLES = ("ingress", "ingress", "dispatcher", "dispatcher", "recorder,intake")

Strike = Callable[[], Awaitable[None]]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Soak:
    """The load and the faults of one run."""

    def __init__(self, world: World, seed: int, seconds: float, rate: float) -> None:
        self.world = world
        self._seeded = random.Random(seed)
        self._until = time.monotonic() + seconds
        self._rate = rate
        self._refused: Counter[int] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load())
            group.create_task(self._strike(self._of_processes(), PAUSES))
            group.create_task(self._strike(self._of_wires(), PAUSES))
            group.create_task(self._strike(self._of_servers(), (25.0, 60.0)))
        assert not self._refused, f"requests ended with {dict(self._refused)}"

    async def _load(self) -> None:
        """Bulks and singles at an even rate, as long as not too many are open."""
        room = asyncio.Semaphore(OPEN_REQUESTS)
        client = self.world.client

        async def one(asking: Awaitable[Reply]) -> None:
            try:
                reply = await asking
            finally:
                room.release()
            if reply.status != 202:
                self._refused[reply.status] += 1

        async with asyncio.TaskGroup() as group:
            asked = 0
            began = time.monotonic()
            while time.monotonic() < self._until:
                tenant = self._seeded.choice(self.world.tenants)
                await room.acquire()
                group.create_task(one(client.bulk(tenant, BULK)))
                for _ in range(3):
                    await room.acquire()
                    priority = self._seeded.choice(("high", "normal"))
                    group.create_task(one(client.send(tenant, priority=priority)))
                asked += BULK + 3
                await asyncio.sleep(max(0.0, began + asked / self._rate - time.monotonic()))

    async def _strike(self, kinds: list[tuple[str, Strike]], pauses: tuple[float, float]) -> None:
        await asyncio.sleep(3)
        while time.monotonic() < self._until:
            what, strike = self._seeded.choice(kinds)
            self.world.struck(what)
            await strike()
            await asyncio.sleep(self._seeded.uniform(*pauses))

    def _child(self) -> Child:
        return self._seeded.choice(self.world.children)

    def _of_processes(self) -> list[tuple[str, Strike]]:
        async def kill() -> None:
            self._child().process.kill()

        async def stall() -> None:
            process = self._child().process
            os.kill(process.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(self._seeded.choice((0.3, 1.0, 2.5, 4.0)))
            finally:
                os.kill(process.pid, signal.SIGCONT)

        async def replace() -> None:
            child = self._child()
            child.left = True
            try:
                code: int | str = await child.process.terminate()
            except AssertionError:
                # Its servers were away, or this machine is busy: supervisors do not wait longer.
                child.process.kill()
                code = "killed"
            finally:
                child.left = False
            say(f"  {child.roles} replaced, exit code {code}")

        return [("kill", kill), ("stall", stall), ("replace", replace), ("kill again", kill)]

    def _of_wires(self) -> list[tuple[str, Strike]]:
        def proxy() -> Proxy:
            child = self._child()
            found = self._seeded.choice((child.postgres, child.amqp, child.provider))
            assert found is not None
            return found

        async def reset() -> None:
            proxy().reset()

        async def silence() -> None:
            chosen = proxy()
            ways = self._seeded.choice(((), (chosen.there,), (chosen.back,)))
            chosen.silence(*ways)
            await asyncio.sleep(self._seeded.choice((0.5, 2.0, 4.0)))
            chosen.reset()
            chosen.heal()

        async def slow() -> None:
            chosen = proxy()
            chosen.back.latency_seconds = self._seeded.choice((0.02, 0.2, 1.0))
            chosen.there.slice_bytes = 100
            await asyncio.sleep(3)
            chosen.heal()

        async def cut() -> None:
            chosen = proxy()
            way = self._seeded.choice((chosen.there, chosen.back))
            way.reset_after_bytes = self._seeded.randrange(1, 4000)
            await asyncio.sleep(1)
            chosen.heal()

        async def provider() -> None:
            script: dict[str, Any] = self._seeded.choice(
                (
                    {"answer": "retry", "accept": False, "scope": "device", "after": 0.5},
                    {"answer": "retry", "accept": False, "after": 0.3},
                    {"answer": "none", "accept": True, "callbacks": [["delivered", 1.0]]},
                    {"answer": "500", "accept": True, "callbacks": [["sent", 1.0]]},
                    {"answer": "failed", "accept": False},
                )
            )
            await self.world.provider.tell(default=script)
            await asyncio.sleep(0.7)
            await self.world.provider.tell(default=None)

        return [
            ("reset", reset),
            ("silence", silence),
            ("slow", slow),
            ("cut", cut),
            ("provider", provider),
        ]

    def _of_servers(self) -> list[tuple[str, Strike]]:
        servers = self.world.servers

        async def alarm() -> None:
            await servers.rabbit.control("set_vm_memory_high_watermark", "absolute", "1MB")
            await asyncio.sleep(3)
            await servers.rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")

        async def sessions() -> None:
            with contextlib.suppress(*UNAVAILABLE):  # it may still recover from the last crash
                await self.world.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        async def stalled() -> None:
            await servers.stall_postgres(2.0)

        return [
            ("PostgreSQL crashes", servers.crash_postgres),
            ("PostgreSQL stands still", stalled),
            ("sessions ended", sessions),
            ("broker killed", servers.crash_rabbit),
            ("memory alarm", alarm),
        ]


async def soak(seed: int, seconds: float, rate: float) -> bool:
    servers = Servers()
    try:
        await servers.start()
        async with World(servers, seed) as world:
            world.tenants += [await world.tenant(2, credits=100_000) for _ in range(3)]
            world.tenants = world.tenants[2:]
            await world.start(*ROLES, proxied=True)
            began = time.monotonic()
            await Soak(world, seed, seconds, rate).run()
            for child in world.children:
                for proxy in (child.postgres, child.amqp, child.provider):
                    if proxy is not None:
                        proxy.heal()
            await world.provider.tell(default=None)
            say(f"healed after {time.monotonic() - began:.0f} s")
            await settle(world, SETTLE_SECONDS)
            for line in await stuck(world):
                say(f"  {line}")
            found = await evidence(world)
            for line in servers.crashes():
                say(f"  PostgreSQL: {line}")
            report = check(found)
            kinds = Counter(what for what, _ in world.faults)
            if len(world.faults) < FAULTS * seconds / 600:
                report.violations.append(f"does not count: {len(world.faults)} faults")
            if report.acknowledged < MESSAGES * seconds / 600:
                report.violations.append(f"does not count: {report.acknowledged} messages")
    finally:
        await servers.close()
    say(f"seed {seed}: {sum(kinds.values())} faults {dict(kinds)}")
    starts = sum(child.starts for child in world.children)
    say(f"{starts} starts of {len(ROLES)} processes, {time.monotonic() - began:.0f} s in all")
    say(
        f"acknowledged {report.acknowledged} ok {report.ok} lost {report.lost} unexpected"
        f" {report.unexpected} duplicated {report.duplicated} recovered {report.recovered}"
        f" in doubt {report.in_doubt} calls {report.calls}"
    )
    for violation in report.violations:
        say(f"  {violation}")
    return not report.violations


def main() -> int:
    # Of lost connections there will be many.
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbits(31)
    say(f"seed {seed}: repeat with make fault-soak SEED={seed}")
    return 0 if asyncio.run(soak(seed, options.seconds, options.rate)) else 1


if __name__ == "__main__":
    sys.exit(main())
