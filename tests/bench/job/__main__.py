"""`make bench`: the job in rounds, the waits, two dispatchers, and the report."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.acceptance.processes import ROOT
from tests.bench.job.accounting import Neighbours
from tests.bench.job.installation import DRIVERS, Installation, installation
from tests.bench.job.limited import limited
from tests.bench.job.report import Figures, machine, write
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
    return f"{found.driver:<10} {found.rate:>6.0f} messages/s; CPU-ms a message: {cpu}"


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


async def measure(options: argparse.Namespace) -> Figures:
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
            "rounds": [asdict(each) | {"rate": each.rate} for each in rounds],
            "client_ms": alone,
            "idle": asdict(quiet),
            "flood": asdict(flood),
            "limited": rate,
            "dispatchers": rates,
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bulks", type=int, default=10, help="of 1000 messages, a round")
    parser.add_argument("--answers", type=int, default=60, help="bulks that are timed")
    parser.add_argument("--singles", type=int, default=200, help="single sends that are timed")
    parser.add_argument("--scaled", type=int, default=3, help="rounds with 1, 2, 4 dispatchers")
    parser.add_argument("--scaled-bulks", type=int, default=4, help="of 1000, for each of them")
    parser.add_argument("--into", type=Path, default=ROOT, help="tree that the report is put in")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    write(options.into, "bench", found)
    say(f"done in {found['seconds']} s: tests/bench/results.json, deploy/performance.md")


if __name__ == "__main__":
    main()
