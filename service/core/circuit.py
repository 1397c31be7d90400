"""When to leave a device alone whose calls nobody answers, and for how long.

Times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

#: Calls in a row without an answer before the first pause; after a pause one is enough.
FAILURES = 5
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0


class Circuit:
    """Opens when call after call gets no answer, longer each time, until one gets one.

    A refusal is an answer: it says that there is somebody.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._seconds = FIRST_SECONDS
        self._opened_at = float("-inf")

    def failed(self, called_at: float, now: float) -> float | None:
        """A call begun then got no answer: for how many seconds the device is to be left alone.

        Those begun before the last pause tell nothing new.
        """
        if called_at < self._opened_at:
            return None
        self._failures += 1
        if self._failures < FAILURES and self._seconds == FIRST_SECONDS:
            return None
        seconds = self._seconds
        self._failures, self._opened_at = 0, now
        self._seconds = min(2.0 * seconds, LONGEST_SECONDS)
        return seconds

    def answered(self) -> None:
        """Somebody is there."""
        self._failures, self._seconds = 0, FIRST_SECONDS
