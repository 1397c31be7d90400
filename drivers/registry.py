"""The drivers there are; a new one is a folder and a line here."""

from __future__ import annotations

from collections.abc import Callable

from drivers.driver import Driver
from drivers.simulator.simulator import Simulator

DRIVERS: dict[str, Callable[[], Driver]] = {
    "simulator": Simulator,
}
