"""`hantar` as the bench has it, which looks at itself every two milliseconds of its CPU time.

At its end it writes `profile-PID.json` into its folder: samples by what was at work.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

from drivers.registry import DRIVERS
from service.cli import main
from tests.bench.job.instant import Instant

EVERY_SECONDS = 0.002
#: A sample belongs to the first of these that has a frame anywhere on the stack.
PARTS = {
    "metrics": ("/prometheus_client/", "/service/telemetry/", "/service/ingress/ops.py"),
    "logs": ("/structlog/", "/logging/__init__.py"),
    "sampler": ("/service/record/sampler.py",),
}

_SAMPLES: Counter[str] = Counter()


def part(files: list[str]) -> str:
    """What a stack was at, by the files of its frames."""
    for name, marks in PARTS.items():
        if any(mark in file for file in files for mark in marks):
            return name
    return "work"


def _look(_number: int, frame: FrameType | None) -> None:
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    _SAMPLES[part(files)] += 1


def _write() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    Path(f"profile-{os.getpid()}.json").write_text(json.dumps(_SAMPLES))


if __name__ == "__main__":
    DRIVERS["instant"] = Instant
    signal.signal(signal.SIGPROF, _look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    atexit.register(_write)
    main()
