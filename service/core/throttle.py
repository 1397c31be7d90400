"""How a device slows down when its provider asks for it: at once, and back slowly.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

#: Of what the provider has borne, so much is asked of it from then on.
KEPT = 0.95
#: At least so much of the rate is left after a cut: a provider that bears half of it is found at
#: once.
CUT = 0.45
#: The rate is never cut below this part of the device's own.
LEAST_FACTOR = 1.0 / 64.0
#: From a standstill back to the full rate, in equal steps; after one cut, about half of it.
RECOVERY_SECONDS = 1080.0


class Throttle:
    """The part of its own rate that a device may use: cut, it grows back by itself.

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

    def cut(self, now: float, called_at: float, borne: float = 0.0) -> bool:
        """The provider throttled a call of `called_at`: whether the rate was cut.

        It is not for calls made before the last cut, which tell nothing about the rate since then.
        What is left is a little less than the part `borne`, of the device's own rate, at which the
        provider had taken the calls before; but never less than CUT of what it was.
        """
        if called_at < self._cut_at:
            return False
        before = self.factor(now)
        factor = max(LEAST_FACTOR, before * CUT, min(borne, before) * KEPT)
        self.full_at = now + (1.0 - factor) * RECOVERY_SECONDS
        self._cut_at = now
        return True
