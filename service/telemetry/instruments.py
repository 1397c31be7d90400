"""How metrics are made: every label has a closed or bounded set of values, and each series whose
values are known is there at once.

A counter that appears with its first event has no rate for it; one that was there before does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# They double the series of every counter, and nothing here asks when a process began to count.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()


class Few:
    """Keeps a label whose set is open to so many values, the known ones and whatever else comes
    first; the rest is `other`, and nothing is `none`."""

    def __init__(self, most: int, known: Iterable[str] = ()) -> None:
        self.most = most
        self.known = tuple(known)
        self._taken = set(self.known)

    def __call__(self, value: str | None) -> str:
        if value is None:
            return "none"
        if value not in self._taken:
            if len(self._taken) >= self.most:
                return "other"
            self._taken.add(value)
        return value


#: The values of a label; None: those of the routes, checks and devices that there are, which are
#: bounded where they are written.
Values = Sequence[str] | Few | None

#: What was declared, by metric and label: a test holds against it what processes export.
DECLARED: dict[str, Mapping[str, Values]] = {}


def counter(name: str, meaning: str, **labels: Values) -> Counter:
    """A counter; `_total` is added to its name."""
    metric = Counter(name, meaning, list(labels), registry=REGISTRY)
    _make_series(name, metric, labels)
    return metric


def gauge(name: str, meaning: str, **labels: Values) -> Gauge:
    """A gauge."""
    metric = Gauge(name, meaning, list(labels), registry=REGISTRY)
    _make_series(name, metric, labels)
    return metric


def histogram(name: str, meaning: str, edges: Sequence[float], **labels: Values) -> Histogram:
    """A histogram; objectives are measured exactly where they are one of its edges."""
    metric = Histogram(name, meaning, list(labels), registry=REGISTRY, buckets=edges)
    _make_series(name, metric, labels)
    return metric


def _make_series(name: str, metric: MetricWrapperBase, labels: Mapping[str, Values]) -> None:
    DECLARED[name] = labels
    for values in _series(labels):
        if values:
            metric.labels(*values)


def _series(labels: Mapping[str, Values]) -> list[tuple[str, ...]]:
    known = [
        (*values.known, "other") if isinstance(values, Few) else values
        for values in labels.values()
        if values is not None
    ]
    return list(product(*known)) if len(known) == len(labels) else []


class SampledGauge:
    """A gauge whose value is looked up now and then, all of its series at once."""

    def __init__(self, metric: Gauge, labels: Mapping[str, Values]) -> None:
        self._metric = metric
        self._series = _series(labels)

    def set(self, value: float) -> None:
        """The value of a gauge without labels."""
        self._metric.set(value)

    def fill(self, values: Mapping[tuple[str, ...], float]) -> None:
        """The values by label values; of a closed set, what is not given is zero."""
        self._metric.clear()
        for labels in self._series:
            self._metric.labels(*labels)
        for labels, value in values.items():
            self._metric.labels(*labels).set(value)


class Look(Collector):
    """Gauges of one look at the database, exported only while it is fresh.

    So each of them is told by the one process that looks, and what nobody knows any more is
    absent instead of wrong.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._good_until = float("-inf")
        REGISTRY.register(self)

    def gauge(self, name: str, meaning: str, **labels: Values) -> SampledGauge:
        """A gauge of this look."""
        metric = Gauge(name, meaning, list(labels), registry=self._registry)
        DECLARED[name] = labels
        return SampledGauge(metric, labels)

    def taken(self, *, good_seconds: float) -> None:
        """Its gauges have been set, and hold for so long."""
        self._good_until = time.monotonic() + good_seconds

    def forget(self) -> None:
        """Nobody looks here any more."""
        self._good_until = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Nothing: its gauges are made after it."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """What is known at this moment."""
        return self._registry.collect() if time.monotonic() < self._good_until else ()
