"""What the long runs share with the tests; nothing here is collected unless it is named."""

from __future__ import annotations

from tests.acceptance.installation import installation
from tests.acceptance.processes import processes

__all__ = ["installation", "processes"]
