"""Which shard a device belongs to."""

from __future__ import annotations

from hashlib import blake2b


def shard_of(device_id: int, portfolio: str | None, shards: int) -> int:
    """The shard of a budget group: devices of one portfolio share theirs, others stand alone."""
    group = f"portfolio:{portfolio}" if portfolio else f"device:{device_id}"
    return int.from_bytes(blake2b(group.encode(), digest_size=8).digest()) % shards
