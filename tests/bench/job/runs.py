"""The kinds of runs: the job in turns, other task queues beside it, and growth."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict

from tests.acceptance.processes import ROOT
from tests.bench.job.accounting import Neighbours
from tests.bench.job.growth import growth
from tests.bench.job.installation import DRIVERS, Installation, installation
from tests.bench.job.limited import limited
from tests.bench.job.report import Figures, machine
from tests.bench.job.rivals import RIVALS, rivals
from tests.bench.job.rounds import Round, drained, job
from tests.bench.job.scaled import scaled
from tests.bench.job.waits import flooded, idle

CLIENT_CALLS = 4000
CLIENT_SECONDS = 60.0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(found: Round) -> str:
    cpu = ", ".join(f"{name} {ms:.3f}" for name, ms in found.cpu_ms.items() if ms >= 0.0005)
    return f"{found.driver:<20} {found.rate:>6.0f} messages/s; CPU-ms a message: {cpu}"


async def client_alone(made: Installation) -> float:
    """CPU-ms a call of the client of the `meta` driver, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.job.client", made.nginx.url, str(CLIENT_CALLS),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(CLIENT_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return float(output)


async def in_turns(made: Installation, rounds: int, bulks: int) -> tuple[list[Round], list[float]]:
    """Every driver in turn, and the client alone; a first turn that warms up is left out."""
    found, alone = [], []
    for turn in range(rounds + 1):
        for driver in DRIVERS:
            one = await job(made, driver, bulks if turn else 2, counted=turn == rounds)
            if turn:
                found.append(one)
                say(line(one))
        if turn:
            alone.append(await client_alone(made))
    return found, alone


async def bench(options: argparse.Namespace) -> Figures:
    began, others = time.monotonic(), Neighbours()
    async with installation() as made:
        say(f"servers and roles up after {time.monotonic() - began:.0f} s")
        rounds, alone = await in_turns(made, options.rounds, options.bulks)
        quiet = await idle(made, bulks=options.answers, singles=options.singles)
        say("waits without load measured")
        rate = await limited(made)
        await drained(made)
        say(f"a limited device used {rate['used']:.4f} of its rate")
        rates = await scaled(made, options.scaled, options.scaled_bulks)
        await drained(made)
        say("one, two and four dispatchers measured")
        flood = await flooded(made, bulks=options.answers, singles=options.singles)
        say(f"waits under a flood measured, {flood.left} of it left")
        return {
            "machine": await machine(made, others, rounds=options.rounds, bulks=options.bulks),
            "seconds": round(time.monotonic() - began),
            "rounds": [_noted(each) for each in rounds],
            "client_ms": alone,
            "idle": asdict(quiet),
            "flood": asdict(flood),
            "limited": rate,
            "dispatchers": rates,
        }


async def versus(options: argparse.Namespace) -> Figures:
    """Hantar and the others in turns on the same servers, once Hantar is warm."""
    began, others, found = time.monotonic(), Neighbours(), []
    async with installation() as made, rivals(made) as them:
        say(f"servers, roles and the others up after {time.monotonic() - began:.0f} s")
        for turn in range(options.rounds + 1):
            for driver in ("simulator", "meta"):
                found += [await job(made, driver, options.bulks if turn else 2)]
            for rival in RIVALS if turn else ():
                found += [await them.job(rival, options.rival_messages)]
            if not turn:
                found.clear()
            for one in found[-len(RIVALS) - 2 :]:
                say(line(one))
        return {
            "machine": await machine(made, others, rounds=options.rounds, bulks=options.bulks,
                                     messages=options.rival_messages),
            "seconds": round(time.monotonic() - began),
            "rounds": [_noted(each) for each in found],
            "rest": them.rest,
        }  # fmt: skip


async def grown(options: argparse.Namespace) -> Figures:
    """Two installations in turns, one of which grows."""
    began, others = time.monotonic(), Neighbours()
    found = await growth(options, say)
    async with installation() as made:
        on = await machine(made, others, rounds=options.growth_rounds, bulks=options.bulks)
    return {"machine": on, "seconds": round(time.monotonic() - began), **found}


def _noted(one: Round) -> Figures:
    return asdict(one) | {"rate": one.rate}
