"""`make fault-mutants`: twelve known bugs, each put into a copy of the tree, must be found.

A mutant is a patch in `mutants/`; `MUTANTS` says which cases have to find it and by which
invariant. The same cases are green with the same seed where it is not applied.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.processes import ROOT

PATCHES = Path(__file__).parent / "mutants"
COPIED = ("service", "drivers", "schemas", "tests", "pyproject.toml")
RUN_SECONDS = 400.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug, the case that finds it, and what it breaks."""

    name: str
    case: str
    breaks: str


MUTANTS = (
    Mutant("read-then-write-debit", "F13", "I3"),
    Mutant("ack-before-commit", "F70b", "I1"),
    Mutant("missing-mandatory", "F28c", "I1"),
    Mutant("fixed-window-limiter", "F51", "I4"),
    Mutant("no-epoch-check", "F42j", "fence:"),
    Mutant("resend-on-time-out", "F49b", "I2"),
    Mutant("refund-without-unique-key", "F70d", "I3"),
    Mutant("status-set-unconditionally", "F71", "I5"),
    Mutant("missing-tenant-filter", "F12b", "I6"),
    Mutant("outbox-marked-before-confirm", "F04b", "I1"),
    Mutant("wall-clock-limiter", "F53b", "I4"),
    Mutant("dead-letters-unread", "F41", "I1"),
)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def copy(folder: Path) -> None:
    """The tree, without what git does not know."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def apply(patch: Path, folder: Path, *, only_check: bool = False) -> str:
    """Put a patch in; answers what git has to complain of."""
    check = ["--check"] if only_check else []
    done = subprocess.run(
        ["git", "apply", *check, str(patch)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stderr


def run(folder: Path, cases: str, seed: int) -> tuple[int, str]:
    """The exit code and the output of these cases in a tree."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault", "--seed", str(seed), "--case", cases, "--exact"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    return done.returncode, done.stdout


def caught(mutant: Mutant, seed: int) -> tuple[bool, str]:
    """Whether the case found it by the invariant it breaks, and the line that says so."""
    folder = Path(tempfile.mkdtemp(prefix="hantar-mutant-"))
    try:
        copy(folder)
        trouble = apply(PATCHES / f"{mutant.name}.patch", folder)
        if trouble:
            return False, trouble.strip()
        code, output = run(folder, mutant.case, seed)
        lines = [line.strip() for line in output.splitlines() if line.startswith("   ")]
        told = [line for line in lines if f"{mutant.breaks} " in line]
        return bool(code == 1 and told), (told or lines or ["nothing found"])[0][:110]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", default="")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = [mutant for mutant in MUTANTS if options.mutant in mutant.name]
    code, output = run(ROOT, ",".join(mutant.case for mutant in chosen), options.seed)
    say(f"without any: {'green' if code == 0 else 'NOT GREEN'}, seed {options.seed}")
    if code:
        say(output)
    found = 0
    for mutant in chosen:
        good, line = caught(mutant, options.seed)
        found += good
        say(f"{'caught' if good else 'MISSED':<7} {mutant.name:<29} {mutant.case:<5} {line}")
    say(f"{found} of {len(chosen)} caught, {time.monotonic() - began:.0f} s")
    return 0 if found == len(chosen) and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
