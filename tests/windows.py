"""The oracle of pace: whether calls ever came faster than a limit, in any sliding window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.store.pool import Pool


class TooSoon(NamedTuple):
    """The call at `late` was one too many for the window that begins at `early`."""

    early: float
    late: float


def too_soon(times: Iterable[float], calls: int, seconds: float) -> list[TooSoon]:
    """The calls that break "at most `calls` in any `seconds`"; empty is what every test wants.

    A window holds its beginning and not its end: with sorted times t, t[i + calls] - t[i] must not
    be less than `seconds`, for every i.
    """
    ordered = sorted(times)
    pairs = zip(ordered, ordered[calls:], strict=False)
    return [TooSoon(early, late) for early, late in pairs if late - early < seconds]


def used(times: Sequence[float], per_second: float) -> float:
    """The part of a rate that was used from the first call to the last."""
    return (len(times) - 1) / (max(times) - min(times)) / per_second


async def calls_by_device(pool: Pool) -> dict[int, list[float]]:
    """When the simulated WhatsApp was called for each device, on the machine's monotonic clock."""
    rows = await pool.fetch("SELECT device_id, called_at FROM simulator_calls ORDER BY called_at")
    calls: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        calls[row["device_id"]].append(row["called_at"])
    return calls
