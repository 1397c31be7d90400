"""How a device slows down when its provider asks for it: at once, and back slowly.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

from collections import deque

#: At least so much of the rate is left after a cut, and at most so much.
CUT, LEAST_CUT = 0.5, 0.98
#: Of what the provider took in so long before, so much is asked of it from then on.
TAKEN_SECONDS, KEPT = 1.0, 0.95
#: The rate is never cut below this part of the device's own.
LEAST_FACTOR = 1.0 / 64.0
#: From a standstill back to the full rate, in equal steps; after one cut, half of it.
RECOVERY_SECONDS = 1200.0


class Throttle:
    """The part of its own rate that a device may use: cut, it grows back by itself.

    One moment, that of the full rate, says all of it: whoever takes the device over goes on with
    `full_at`.
    """

    def __init__(self, full_at: float = 0.0) -> None:
        self.full_at = full_at
        self._cut_at = -1.0
        self._taken: deque[float] = deque(maxlen=10_000)

    def factor(self, now: float) -> float:
        """Between LEAST_FACTOR and 1."""
        if now >= self.full_at:
            return 1.0
        return max(LEAST_FACTOR, 1.0 - (self.full_at - now) / RECOVERY_SECONDS)

    def taken(self, called_at: float) -> None:
        """The provider took a call of then."""
        self._taken.append(called_at)
        while called_at - self._taken[0] > TAKEN_SECONDS:
            self._taken.popleft()

    def cut(self, now: float, called_at: float, rate: float) -> bool:
        """The provider throttled a call of `called_at`: whether the rate was cut.

        It is not for calls made before the last cut, which tell nothing about the rate since then.
        Of `rate`, calls a second, is left what the provider took in the second before and a little
        less, as it bears that much; but never less than half of what it was.
        """
        if called_at < self._cut_at:
            return False
        before = self.factor(now)
        taken = sum(called_at - TAKEN_SECONDS < at <= called_at for at in self._taken)
        borne = taken / TAKEN_SECONDS / rate * KEPT
        factor = max(LEAST_FACTOR, before * CUT, min(borne, before * LEAST_CUT))
        self.full_at = now + (1.0 - factor) * RECOVERY_SECONDS
        self._cut_at = now
        return True
