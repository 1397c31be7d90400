"""`hantar` with one driver more: the one that speaks to the provider of the fault suite."""

from __future__ import annotations

from drivers.registry import DRIVERS
from service.cli import main
from tests.fault.wire import Wire

if __name__ == "__main__":
    DRIVERS["wire"] = Wire
    main()
