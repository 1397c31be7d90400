"""The codes that the drivers' tables have, counted before the first of them comes."""

from __future__ import annotations

from drivers.driver import Action, Scope
from drivers.registry import KINDS
from service.telemetry import metrics


def count_from_zero() -> None:
    """Export a zero for each, so that the first failure of its kind has a rate too."""
    for driver, kind in KINDS.items():
        for rule in kind.rules:
            metrics.FAILED.labels(driver, metrics.FAILURES(rule.name))
            if rule.action is Action.PAUSE:
                metrics.DEVICES_STOPPED.labels(metrics.STOPS(rule.name))
            if rule.action is Action.FAIL and rule.scope is Scope.TEMPLATE:
                metrics.CAMPAIGNS_STOPPED.labels(metrics.STOPS(rule.name))
