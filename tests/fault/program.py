"""`hantar` with one driver more: the one that speaks to the provider of the fault suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from drivers.registry import DRIVERS
from service.cli import main
from tests.fault.wire import Wire

#: How much faster the wall clock of this process runs, as one that is being corrected does.
WALL = float(os.environ.get("FAULT_WALL_FACTOR", "1"))


def hurry_wall_clock(read: Callable[[], float]) -> None:
    began = read()
    vars(time)["time"] = lambda: began + (read() - began) * WALL


if __name__ == "__main__":
    if WALL != 1:
        hurry_wall_clock(time.time)
    DRIVERS["wire"] = Wire
    main()
