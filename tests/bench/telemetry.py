"""Telemetry's share of the CPU of a process under load: `make bench-telemetry`.

Bulks for two drivers while every process is scraped as often as deployed; processes take samples
of their own stacks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.bench.job.installation import ROLES, Installation, installation
from tests.bench.job.rounds import drained, job

#: As deploy/prometheus/prometheus.yml says.
SCRAPE_SECONDS = 15.0
BULKS = 40
DRIVERS = ("meta", "simulator")
#: Of the dispatch path.
MOST = 0.05
LEAST_SAMPLES = 1000


async def test_telemetry_takes_little_of_the_dispatch_path() -> None:
    async with installation(module="tests.bench.job.profiled") as made:
        async with scraped(made):
            for driver in DRIVERS:
                await job(made, driver, BULKS)
        await drained(made)
        found = {}
        for role in ROLES[::-1]:
            pid = made.roles[role][0].pid
            await made.stop(role)
            file = Path(made.processes.folder) / f"profile-{pid}.json"
            found[role] = Counter(json.loads(file.read_text()))
    sys.stdout.write("\n")
    for role, samples in found.items():
        parts = ", ".join(
            f"{name} {samples[name] / samples.total():.1%}"
            for name in ("metrics", "logs", "sampler")
        )
        sys.stdout.write(f"{role:<10} {samples.total():>6} samples: {parts}\n")
    dispatcher = found["dispatcher"]
    assert dispatcher.total() >= LEAST_SAMPLES
    assert 1 - dispatcher["work"] / dispatcher.total() < MOST


@asynccontextmanager
async def scraped(made: Installation) -> AsyncIterator[None]:
    """As Prometheus does it."""
    ops = [(await running[0].ready())[1] for running in made.roles.values()]

    async def scrape() -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                for address in ops:
                    async with http.get(f"{address}/metrics") as answer:
                        await answer.read()
                await asyncio.sleep(SCRAPE_SECONDS)

    task = asyncio.create_task(scrape(), name="scrape")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
