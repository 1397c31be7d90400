"""How many requests are good now: a bucket that refills evenly, counted in whole nanoseconds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

NANOSECONDS = 1_000_000_000
#: Keys looked after before the older half is forgotten early.
MOST_KEYS = 100_000

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Quota:
    """`burst` at once, refilled by `per_second`."""

    per_second: float
    burst: int

    @property
    def interval_ns(self) -> int:
        """Time in which one is refilled."""
        return max(1, round(NANOSECONDS / self.per_second))

    @property
    def refill_ns(self) -> int:
        """Time in which an empty bucket is full again."""
        return self.burst * self.interval_ns


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking for one."""

    allowed: bool
    #: how many are left now; 0 whenever it was refused
    remaining: int
    #: until the bucket is full again
    full_ns: int
    #: until one is there again; 0 when it was allowed
    wait_ns: int


def take(quota: Quota, full_at_ns: int, now_ns: int) -> tuple[Taken, int]:
    """Ask for one (GCRA): the answer, and when the bucket will be full; refused costs nothing."""
    full_at_ns = max(full_at_ns, now_ns)
    after_ns = full_at_ns + quota.interval_ns
    over_ns = after_ns - now_ns - quota.refill_ns
    if over_ns <= 0:
        full_at_ns = after_ns
    full_ns = full_at_ns - now_ns
    remaining = (quota.refill_ns - full_ns) // quota.interval_ns
    return Taken(over_ns <= 0, remaining, full_ns, max(0, over_ns)), full_at_ns


class Quotas(Generic[Key]):
    """A bucket for each key, of which only those that are not full are kept.

    They live in two generations that change places once a bucket's refill time: what was not asked
    for during a whole one is full again, and forgetting it changes nothing. With more than `most`
    keys in one generation they change places early, and whoever is forgotten begins anew.
    """

    def __init__(self, quota: Quota, *, most: int = MOST_KEYS) -> None:
        self.quota = quota
        self._most = most
        self._young: dict[Key, int] = {}
        self._old: dict[Key, int] = {}
        self._born_ns: int | None = None

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, key: Key, now_ns: int) -> Taken:
        """Ask for one of this key's bucket; `now_ns` never goes back."""
        if self._born_ns is None:
            self._born_ns = now_ns
        if now_ns - self._born_ns >= self.quota.refill_ns or len(self._young) >= self._most:
            self._old, self._young = self._young, {}
            self._born_ns = now_ns
        full_at_ns = self._young.get(key) or self._old.pop(key, now_ns)
        taken, self._young[key] = take(self.quota, full_at_ns, now_ns)
        return taken
