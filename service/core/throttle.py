"""How a device slows down when its provider asks for it: at once, by half, and back slowly.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

#: What is left of the rate after each cut.
CUT = 0.5
#: The rate is never cut below this part of the device's own.
LEAST_FACTOR = 1.0 / 64.0
#: From a standstill back to the full rate, in equal steps; after one cut, half of it.
RECOVERY_SECONDS = 1200.0


class Throttle:
    """The part of its own rate that a device may use: cut by half, it grows back by itself.

    One moment, that of the full rate, says all of it: whoever takes the device over goes on with
    `full_at`.
    """

    def __init__(self, full_at: float = 0.0) -> None:
        self.full_at = full_at
        self._cut_at = -1.0

    def factor(self, now: float) -> float:
        """Between LEAST_FACTOR and 1."""
        if now >= self.full_at:
            return 1.0
        return max(LEAST_FACTOR, 1.0 - (self.full_at - now) / RECOVERY_SECONDS)

    def cut(self, now: float, called_at: float) -> bool:
        """The provider throttled a call of `called_at`: whether the rate was cut.

        It is not for calls made before the last cut, which tell nothing about the rate since then.
        """
        if called_at < self._cut_at:
            return False
        factor = max(LEAST_FACTOR, self.factor(now) * CUT)
        self.full_at = now + (1.0 - factor) * RECOVERY_SECONDS
        self._cut_at = now
        return True
