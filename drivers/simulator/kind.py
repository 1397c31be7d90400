"""The devices of the simulator: linked from the start, and as fast as they are asked to be."""

from __future__ import annotations

import msgspec

from drivers.driver import Kind
from drivers.simulator.outcomes import RULES


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """There are none."""


KIND = Kind(Settings, rules=RULES.values(), begins="ready")
