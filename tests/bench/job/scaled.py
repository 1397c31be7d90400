"""The job with one, two and four dispatchers, in turns."""

from __future__ import annotations

import asyncio

from tests.bench.job.installation import Installation
from tests.bench.job.rounds import job

COUNTS = (1, 2, 4)
#: Where the dispatchers are the bottleneck, and where all else on the same cores may be.
SCALED_DRIVERS = ("busy", "meta")

Rates = dict[str, list[float]]


async def scaled(made: Installation, rounds: int, bulks: int) -> dict[str, Rates]:
    """Messages/s by driver and by number of dispatchers."""
    rates: dict[str, Rates] = {
        driver: {str(count): [] for count in COUNTS} for driver in SCALED_DRIVERS
    }
    for _ in range(rounds):
        await _dismiss(made)
        for count in COUNTS:
            more = count - len(made.roles["dispatcher"])
            await asyncio.gather(*(made.start("dispatcher") for _ in range(more)))
            await made.shared_out(count)
            for driver in SCALED_DRIVERS:
                await job(made, driver, count)  # warms up
                rates[driver][str(count)].append((await job(made, driver, bulks)).rate)
    await _dismiss(made)
    await made.start("dispatcher")
    await made.shared_out(1)
    return rates


async def _dismiss(made: Installation) -> None:
    while made.roles["dispatcher"]:
        await made.stop("dispatcher")
