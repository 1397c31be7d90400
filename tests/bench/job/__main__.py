"""`make bench`: the job and the waits, or `--rivals`, or `--growth`; and the report."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tests.acceptance.processes import ROOT
from tests.bench.job.report import write
from tests.bench.job.runs import bench, grown, say, versus

RUNS = {"bench": bench, "rivals": versus, "growth": grown}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--rivals", dest="kind", action="store_const", const="rivals",
                       help="Hantar and other task queues in turns; twenty minutes")  # fmt: skip
    kinds.add_argument("--growth", dest="kind", action="store_const", const="growth",
                       help="cost by backlog and by size of the table; an hour")  # fmt: skip
    parser.set_defaults(kind="bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bulks", type=int, default=10, help="of 1000 messages, a round")
    parser.add_argument("--answers", type=int, default=60, help="bulks that are timed")
    parser.add_argument("--singles", type=int, default=200, help="single sends that are timed")
    parser.add_argument("--scaled", type=int, default=3, help="rounds with 1, 2, 4 dispatchers")
    parser.add_argument("--scaled-bulks", type=int, default=4, help="of 1000, for each of them")
    parser.add_argument("--rival-messages", type=int, default=5000, help="a round of each rival")
    parser.add_argument("--growth-rounds", type=int, default=5, help="of each size")
    parser.add_argument("--growth-rows", type=int, default=10_000_000, help="no larger tables")
    parser.add_argument("--growth-backlog", type=int, default=1_000_000, help="no larger backlogs")
    parser.add_argument("--into", type=Path, default=ROOT, help="tree that the report is put in")
    options = parser.parse_args()
    found = asyncio.run(RUNS[options.kind](options))
    write(options.into, options.kind, found)
    say(f"done in {found['seconds']} s: tests/bench/results.json, deploy/performance.md")


if __name__ == "__main__":
    main()
