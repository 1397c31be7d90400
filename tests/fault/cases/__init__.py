"""Every case; importing this makes them known."""

from __future__ import annotations

from tests.fault.cases import kills

__all__ = ["kills"]
