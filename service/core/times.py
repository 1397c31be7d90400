"""Times as the outside sees them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. `2026-11-23T08:00:00.123Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
