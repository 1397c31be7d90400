"""A real installation for a real Prometheus to look at."""

from __future__ import annotations

from tests.acceptance.installation import installation
from tests.acceptance.processes import processes

__all__ = ["installation", "processes"]
