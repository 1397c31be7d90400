"""How the figures of a run are read: medians, percentiles, sums."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

ROLES = ("ingress", "dispatcher", "recorder", "intake")
SERVERS = ("rabbitmq", "postgres")

Figures = Mapping[str, Any]


def part(values: Iterable[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def of(found: Figures, driver: str, read: Callable[[Any], float | None]) -> float:
    """The median over the rounds of a driver, of those that have it."""
    values = [read(each) for each in found["rounds"] if each["driver"] == driver]
    return statistics.median(value for value in values if value is not None)


def cpu(names: Sequence[str]) -> Callable[[Any], float]:
    """CPU-ms of these processes together, in a round."""
    return lambda one: float(sum(one["cpu_ms"].get(name, 0.0) for name in names))


def everything(one: Any) -> float:
    """CPU-ms of all that has to do with the job, but for the provider's."""
    return float(sum(ms for name, ms in one["cpu_ms"].items() if name != "nginx"))


def field(name: str) -> Callable[[Any], float | None]:
    """A figure of a round, where it was taken."""
    return lambda one: None if one[name] is None else float(one[name])


def ratio(values: Iterable[float], others: Iterable[float]) -> float:
    """The median of how many times the others the values are, turn by turn."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def ms(seconds: Iterable[float]) -> list[float]:
    """As milliseconds."""
    return [1000 * each for each in seconds]
