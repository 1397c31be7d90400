"""What processes export has to be what was declared: no label has more values than it may."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from service.telemetry import metrics, samples
from service.telemetry.instruments import DECLARED, Few

#: Gauges are declared by these two, counters and histograms by the first.
assert DECLARED.keys() >= {"hantar_ready", "hantar_outbox_depth"}, (metrics, samples)
_SUFFIX = re.compile(r"_(total|bucket|sum|count)$")
#: Of labels whose values are the routes, checks and devices that there are.
WIRED = 100


def undeclared(exported: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Labels of series, by name and labels, with a value that none of them may have, or with more
    values than were said."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, labels in exported:
        metric = name if name in DECLARED else _SUFFIX.sub("", name)
        for label in DECLARED[metric]:
            found[metric, label].add(labels[label])
    assert found, "nothing is exported"
    return [
        f"{metric}: {label} is {sorted(strange)}"
        for (metric, label), values in found.items()
        if (strange := _strange(metric, label, values))
    ]


def _strange(metric: str, label: str, values: set[str]) -> set[str]:
    declared = DECLARED[metric][label]
    if isinstance(declared, Few):
        return values if len(values - {"other", "none"}) > declared.most else set()
    if declared is None:
        return values if len(values) > WIRED else set()
    return values - set(declared)
