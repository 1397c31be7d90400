"""Every case; importing this makes them known."""

from __future__ import annotations

from tests.fault.cases import (
    broker,
    cluster,
    commands,
    database,
    devices,
    events,
    kills,
    provider,
    requests,
)

__all__ = [
    "broker",
    "cluster",
    "commands",
    "database",
    "devices",
    "events",
    "kills",
    "provider",
    "requests",
]
