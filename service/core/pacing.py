"""When a device may be called: every budget in every sliding window, by arithmetic alone.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: Added to every window, as the far side counts calls when they arrive, not when they leave.
GUARD_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `calls` calls in any `window_seconds`."""

    calls: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one device that are kept by the process owning it; None is no limit."""

    per_second: float | None = None
    per_minute: int | None = None

    def budgets(self) -> list[Budget]:
        """The windows to keep; a fraction per second becomes one call in a longer window."""
        budgets = []
        if self.per_second is not None:
            calls = max(1, math.floor(self.per_second))
            budgets.append(Budget(calls, calls / self.per_second))
        if self.per_minute is not None:
            budgets.append(Budget(self.per_minute, 60.0))
        return budgets

    def rate(self) -> float | None:
        """The calls per second that all limits together allow in the long run."""
        rates = [budget.calls / budget.window_seconds for budget in self.budgets()]
        return min(rates) if rates else None

    def spacing_seconds(self) -> float:
        """The even gap between calls."""
        return 1.0 / self.per_second if self.per_second is not None else 0.0


class Pacer:
    """Gives out slots so that call i+N is never made earlier than call i + its window.

    A slot is planned ahead by `plan` and taken by `begin` when the call is really made. There the
    windows are checked against the calls that were made, as a stalled process calls late, out of
    order or not at all. A new pacer acts as if every budget had just been used up, since its owner
    cannot know what another one sent.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._budgets: Sequence[Budget] = limits.budgets()
        self._spacing = limits.spacing_seconds()
        most = max((budget.calls for budget in self._budgets), default=1)
        self._slots: deque[float] = deque([now] * most, maxlen=most)
        self._made: deque[float] = deque([now] * most, maxlen=most)
        self._count = most
        # Spacing goes by the plan: counted from late calls, each lateness would add to the next.
        self._planned = now

    def next_at(self) -> float:
        """The earliest time of the next slot; -inf when nothing limits it."""
        if not self._budgets:
            return -math.inf
        return max(self._opens_after(self._slots), self._planned + self._spacing)

    def plan(self, now: float) -> tuple[int, float]:
        """Reserve the next slot: its number and its time, never before `now`."""
        at = max(now, self.next_at())
        self._slots.append(at)
        self._planned = at
        self._count += 1
        return self._count - 1, at

    def begin(self, slot: int, now: float) -> bool:
        """Take a planned slot at the true time of the call; False when it would break a window."""
        if now < self._opens_after(self._made):
            return False
        self._made.append(now)
        place = len(self._slots) - (self._count - slot)
        if place >= 0:
            self._slots[place] = max(self._slots[place], now)
        return True

    def _opens_after(self, calls: deque[float]) -> float:
        """When one more call fits into every window that these calls are in."""
        opens = -math.inf
        for budget in self._budgets:
            opens = max(opens, calls[-budget.calls] + budget.window_seconds + GUARD_SECONDS)
        return opens
