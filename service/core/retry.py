"""What follows an answer that is not final: again later, or never."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Tries that counted after which a message fails; throttling does not count.
MOST_ATTEMPTS = 5
FIRST_DELAY_SECONDS = 1.0
DELAY_FACTOR = 4.0
LONGEST_DELAY_SECONDS = 600.0
#: The longest wait that a provider may ask for, as with a restricted number.
LONGEST_WISH_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The message goes back to wait this long."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The message fails with the last code it met."""


def decide(
    *, attempts: int, counts: bool, after_seconds: float | None, jitter: float
) -> TryAgain | GiveUp:
    """The decision after a try that did not get through.

    `attempts` are the tries that counted before this one, `after_seconds` the provider's own wish,
    `jitter` a number in 0…1 that spreads the retries over half of their delay.
    """
    tried = attempts + (1 if counts else 0)
    if tried >= MOST_ATTEMPTS:
        return GiveUp()
    if after_seconds is not None and not math.isnan(after_seconds):
        return TryAgain(min(max(after_seconds, 0.0), LONGEST_WISH_SECONDS))
    delay = min(FIRST_DELAY_SECONDS * DELAY_FACTOR ** max(tried - 1, 0), LONGEST_DELAY_SECONDS)
    return TryAgain(delay * (1.0 - jitter / 2.0))
