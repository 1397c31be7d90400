"""When a device may be called: every budget in every sliding window, by arithmetic alone.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.core.throttle import Throttle

#: Added to every window, as the far side counts calls when they arrive, not when they leave.
GUARD_SECONDS = 0.002
#: Calls of so long before a throttled one tell what its provider bears.
BORNE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `calls` calls in any `window_seconds`."""

    calls: int
    window_seconds: float


#: What a device without limits of its own is slowed down from.
UNLIMITED = Budget(100, 1.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one device that are kept by the process owning it; None is no limit.

    With jitter each gap is up to so much longer, at random, than the even one.
    """

    per_second: float | None = None
    per_minute: int | None = None
    jitter_seconds: float | None = None

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
        """The calls per second that all of them, jitter included, allow in the long run."""
        gap = self._even_gap_seconds() + (self.jitter_seconds or 0.0) / 2.0
        return 1.0 / gap if gap > 0.0 else None

    def spacing_seconds(self) -> float:
        """The least gap between calls."""
        if self.jitter_seconds:
            # A window used up at once has no room for jitter.
            return self._even_gap_seconds()
        return 1.0 / self.per_second if self.per_second is not None else 0.0

    def _even_gap_seconds(self) -> float:
        gaps = [budget.window_seconds / budget.calls for budget in self.budgets()]
        return max(gaps, default=0.0)


class Pacer:
    """Gives out slots so that call i+N is never made earlier than call i + its window.

    A slot is planned ahead by `plan` and taken by `begin` when the call is really made. There the
    windows are checked against the calls that were made, as a stalled process calls late, out of
    order or not at all. A new pacer acts as if every budget had been used up at `since`, as its
    owner cannot know what another one sent before. While the device is throttled every window is
    longer. `draw` gives the jitter: numbers in 0…1.
    """

    def __init__(
        self,
        limits: Limits,
        since: float,
        *,
        throttle: Throttle | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.throttle = throttle or Throttle()
        self._draw = draw
        self._slots: deque[float] = deque([since], maxlen=1)
        self._made: deque[float] = deque([since], maxlen=1)
        self._count = 0
        # Spacing goes by the plan: counted from late calls, each lateness would add to the next.
        self._planned = since
        self.change(limits)

    @property
    def limits(self) -> Limits:
        """Those in force."""
        return self._limits

    def change(self, limits: Limits) -> None:
        """From now on these hold, for slots planned before too.

        The calls made so far count against them. Of those too long ago to be known, each counts
        as made with the oldest one known.
        """
        self._limits = limits
        own = limits.budgets()
        self._budgets: Sequence[Budget] = own or [UNLIMITED]
        self._limited = bool(own)
        self._even_gap = limits.spacing_seconds() if own else 1.0 / UNLIMITED.calls
        self._rate = limits.rate()
        self._jitter_seconds = limits.jitter_seconds or 0.0
        self._gap_jitter = self._jitter_seconds * self._draw()
        most = max(budget.calls for budget in self._budgets)
        self._slots = _resized(self._slots, most)
        self._made = _resized(self._made, most)

    def rate(self, now: float) -> float | None:
        """The calls per second now, if there is a limit."""
        factor = self.throttle.factor(now)
        rate = self._rate
        if rate is None:
            rate = UNLIMITED.calls / UNLIMITED.window_seconds if factor < 1.0 else None
        return rate * factor if rate is not None else None

    def next_at(self, now: float) -> float:
        """The earliest time of the next slot; -inf when nothing limits it."""
        factor = self.throttle.factor(now)
        opens = self._opens_after(self._slots, factor)
        if self._limited or factor < 1.0:
            return max(opens, self._planned + self._even_gap / factor + self._gap_jitter)
        return max(opens, self._planned + self._gap_jitter) if self._jitter_seconds else opens

    def plan(self, now: float) -> tuple[int, float]:
        """Reserve the next slot: its number and its time, never before `now`."""
        at = max(now, self.next_at(now))
        if self._jitter_seconds:
            self._gap_jitter = self._jitter_seconds * self._draw()
        self._slots.append(at)
        self._planned = at
        self._count += 1
        return self._count - 1, at

    def begin(self, slot: int, now: float) -> bool:
        """Take a planned slot at the true time of the call; False when it would break a window."""
        if now < self._opens_after(self._made, self.throttle.factor(now)):
            return False
        self._made.append(now)
        self._used(slot, now)
        return True

    def made(self, slots: Sequence[int], begun_at: float, now: float) -> None:
        """The calls of these slots, the first of which began then, may be as late as now."""
        for place in range(len(self._made) - 1, -1, -1):
            if self._made[place] < begun_at:
                break
            self._made[place] = now
        for slot in slots:
            self._used(slot, now)

    def _used(self, slot: int, now: float) -> None:
        place = len(self._slots) - (self._count - slot)
        if place >= 0:
            self._slots[place] = max(self._slots[place], now)

    def throttled(self, now: float, slot: int) -> bool:
        """The provider throttled the call of a slot: whether the device slows down because of it.

        The calls of the second before it were borne.
        """
        place = len(self._slots) - (self._count - slot)
        called_at = self._slots[max(place, 0)]
        full = self._limits.rate() or UNLIMITED.calls / UNLIMITED.window_seconds
        calls = sum(called_at - BORNE_SECONDS < at < called_at for at in self._made)
        return self.throttle.cut(now, called_at, calls / BORNE_SECONDS / full)

    def _opens_after(self, calls: deque[float], factor: float) -> float:
        """When one more call fits into every window that these calls are in."""
        opens = -math.inf
        if not self._limited and factor >= 1.0:
            return opens
        for budget in self._budgets:
            window_seconds = budget.window_seconds / factor + GUARD_SECONDS
            opens = max(opens, calls[-budget.calls] + window_seconds)
        return opens


def _resized(times: deque[float], length: int) -> deque[float]:
    """The last so many times; what is missing counts as the oldest."""
    missing = max(0, length - len(times))
    return deque([times[0]] * missing + list(times), maxlen=length)
